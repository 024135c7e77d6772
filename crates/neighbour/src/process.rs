//! What a process is: where it lives, which program it runs, and what it has open itself.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;

use rustix::fs::FileType;

use crate::ask;
use crate::doubt::Doubt;
use crate::held;
use crate::kind::Kind;
use crate::programs::{BROWSERS, DOORS, TERMINALS, TUNNELS, is_service};
use crate::scan::{self, End, Open, STDERR, Scan, Where};
use crate::shared::Shared;
use crate::sockets::{Tables, Tcp};

/// The namespaces in which people live.
#[derive(Debug)]
pub(crate) struct Home([PathBuf; 3]);

const NAMESPACES: [&str; 3] = ["pid", "user", "net"];

fn namespaces(process: u32) -> Result<[PathBuf; 3], Doubt> {
    let of = |name: &str| ask::link(process, &format!("ns/{name}"))?.ok_or(Doubt::Unreadable(process));
    let [pid, user, net] = NAMESPACES;
    Ok([of(pid)?, of(user)?, of(net)?])
}

impl Home {
    /// Those of this process.
    pub(crate) fn here() -> Result<Self, Doubt> {
        namespaces(std::process::id()).map(Self)
    }
}

/// What is known at one moment.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) scan: Scan,
    pub(crate) tables: Tables,
    /// What is shared by other ways than descriptors.
    pub(crate) shared: Shared,
    pub(crate) home: Home,
    /// Uids that stand for tasks' roots.
    pub(crate) task_uids: Range<u32>,
    /// Where the master was reached.
    pub(crate) master: SocketAddr,
    /// The TCP socket at the other end, if that is what was asked about.
    pub(crate) judged: Option<u64>,
    /// All that may speak by who was asked about.
    pub(crate) reached: RefCell<BTreeSet<u32>>,
}

/// See [`Process::image`].
pub(crate) type Image = [u64; 3];

/// A process that may be a person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    fn path(self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0)
    }

    /// It lives where people live: in this process's own namespaces, as no task's user, below no shim, in no task's
    /// cgroup.
    pub(crate) fn check_home(self, home: &Home, task_uids: &Range<u32>) -> Result<(), Doubt> {
        if namespaces(self.0)? != home.0 {
            return Err(Doubt::NotAtHome(self.0));
        }
        scan::owner(self.0).map_err(|_| Doubt::Unreadable(self.0))?;
        if self.is_tasks(task_uids)? { Err(Doubt::NotAtHome(self.0)) } else { Ok(()) }
    }

    /// Whether it belongs to a task.
    pub(crate) fn is_tasks(self, task_uids: &Range<u32>) -> Result<bool, Doubt> {
        let cgroups = || fs::read_to_string(self.path("cgroup")).unwrap_or_default();
        let is_one =
            scan::owner(self.0).is_ok_and(|uid| task_uids.contains(&uid)) || cgroups().contains("/muster-");
        if is_one { Ok(true) } else { self.is_below_shim() }
    }

    /// All that may be related to it was looked at until now.
    pub(crate) fn check_seen(self, look: &Look) -> Result<(), Doubt> {
        let uid = scan::user(self.0).map_err(|_| Doubt::Unreadable(self.0))?;
        let is_too_much = |uid: &u32| look.scan.is_too_much(*uid) || look.shared.is_too_much(*uid);
        match [uid, 0].into_iter().find(is_too_much) {
            Some(uid) => Err(Doubt::TooMuch(uid)),
            None => Ok(()),
        }
    }

    /// Whoever of its user's or of root's may be related to it didn't keep from us what was asked until now, nor did
    /// those above it or those `reached` over what they have in common. Others would have to be let in, as those are with
    /// whom one has an ordinary file in common.
    pub(crate) fn check_asked(self, reached: &BTreeSet<u32>) -> Result<(), Doubt> {
        let hidden = held::hidden();
        // Most hide nothing.
        if hidden.is_empty() {
            return Ok(());
        }
        let uid = scan::user(self.0).map_err(|_| Doubt::Unreadable(self.0))?;
        let above = self.and_above();
        let may_be = |pid: u32, owner: u32| {
            let user = scan::user(pid).unwrap_or(owner);
            user == 0 || user == uid || reached.contains(&pid) || above.contains(&Self(pid))
        };
        let mut hidden = hidden.into_iter();
        hidden.find(|(pid, owner)| may_be(*pid, *owner)).map_or(Ok(()), |(pid, _)| Err(Doubt::HeldUp(pid)))
    }

    /// It has nothing open by which somebody else's words could come to the master, but for what it was given to speak
    /// by (descriptors 0 to 2): see `related`.
    pub(crate) fn check_alone(self, look: &Look) -> Result<(), Doubt> {
        if self.runs(&TUNNELS) {
            return Err(Doubt::Tunnel(self.0));
        }
        look.scan.open(self.0).iter().try_for_each(|open| match open.end {
            End::Socket(inode) => self.check_socket(look, open, inode),
            End::Interface | End::Strange => Err(Doubt::Connected(self.0)),
            End::Pipe(_) if self.is_apart(look, open) => Err(Doubt::Connected(self.0)),
            _ => Ok(()),
        })?;
        self.check_named_pipes(look)
    }

    fn check_socket(self, look: &Look, open: &Open, inode: u64) -> Result<(), Doubt> {
        if look.judged == Some(inode) {
            return Ok(());
        }
        if let Some(tcp) = look.tables.tcp(inode) {
            if look.tables.serves(&tcp) {
                return Err(Doubt::Serves(self.0));
            }
            return if look.leads_to_master(&tcp) { Ok(()) } else { Err(Doubt::Connected(self.0)) };
        }
        if let Some(unix) = look.tables.unix(inode) {
            if unix.name.is_some() {
                return Err(Doubt::Serves(self.0));
            }
            let far = unix.peer.filter(|_| open.number > STDERR && !self.is_left(look, open));
            let between_us = far.is_none_or(|far| self.is_own_or_known(look, far));
            return if between_us { Ok(()) } else { Err(Doubt::Connected(self.0)) };
        }
        match self.kind(open, inode) {
            Kind::Harmless => Ok(()),
            Kind::Carrier => Err(Doubt::Connected(self.0)),
            Kind::Server => Err(Doubt::Serves(self.0)),
            Kind::Unknown => Err(Doubt::Unexplained(self.0)),
        }
    }

    /// Whether the far end of a Unix socket is its own, the master's, or a service of the system.
    fn is_own_or_known(self, look: &Look, far: u64) -> bool {
        let mut holders = look.scan.holders(&End::Socket(far)).iter();
        let near = holders.len() > 0 && holders.all(|pid| [self.0, std::process::id()].contains(pid));
        near || look.tables.unix(far).is_some_and(|unix| unix.name.as_deref().is_some_and(is_service))
    }

    /// What a shell or an editor forgot to close is in all that it starts, and nothing of the process's own.
    pub(crate) fn is_left(self, look: &Look, open: &Open) -> bool {
        let parent = self.parent().filter(|_| open.number > STDERR);
        parent.is_some_and(|parent| look.scan.open(parent.0).contains(open))
    }

    /// Whether a pipe is the one by which `make` and its like count who may work: all that they start has it.
    pub(crate) fn is_jobserver(self, number: u32) -> bool {
        let environ = ask::text(self.0, "environ").unwrap_or_default();
        let environ = String::from_utf8_lossy(&environ);
        let mut words = environ.split([' ', '\0']);
        number > STDERR
            && words.any(|word| {
                let ends =
                    word.split_once("--jobserver-auth=").or_else(|| word.split_once("--jobserver-fds="));
                let ends = ends.map(|(_, ends)| ends.split(','));
                ends.is_some_and(|mut ends| ends.any(|end| end.parse() == Ok(number)))
            })
    }

    /// Whether it can read a descriptor of its own, and whether it can write.
    pub(crate) fn directions(self, number: u32) -> (bool, bool) {
        let mode = ask::mode(self.0, number);
        (mode & 0o400 != 0, mode & 0o200 != 0)
    }

    /// Whether a pipe leads to another process, and isn't one that it was given to speak by.
    fn is_apart(self, look: &Look, open: &Open) -> bool {
        let given = look.scan.open(self.0).iter().any(|own| own.number <= STDERR && own.end == open.end);
        !given && !self.is_left(look, open) && !look.is_ours(&open.end) && self.shares(look, &open.end)
    }

    /// Whether another process has an end of that, too.
    fn shares(self, look: &Look, end: &End) -> bool {
        let others = [self.0, std::process::id()];
        look.scan.holders(end).iter().any(|holder| !others.contains(holder))
    }

    /// Those are files; whether one is a pipe has to be asked.
    fn check_named_pipes(self, look: &Look) -> Result<(), Doubt> {
        let files =
            look.scan.open(self.0).iter().filter(|open| open.end == End::File && open.number > STDERR);
        let files = ask::files(self.0, files.map(|open| open.number));
        match files.iter().any(|(_, file)| file.kind == FileType::Fifo) {
            true => Err(Doubt::Connected(self.0)),
            false => Ok(()),
        }
    }

    /// It holds no socket of which nothing is known: one of another network namespace, or one that is caught between two
    /// states.
    pub(crate) fn check_explained(self, look: &Look) -> Result<(), Doubt> {
        let unexplained = |open: &Open| match open.end {
            End::Socket(inode) => {
                look.judged != Some(inode)
                    && !look.tables.knows(inode)
                    && self.kind(open, inode) == Kind::Unknown
            }
            _ => false,
        };
        match look.scan.open(self.0).iter().any(unexplained) {
            true => Err(Doubt::Unexplained(self.0)),
            false => Ok(()),
        }
    }

    /// Whether it listens on TCP or its like, or was connected to.
    pub(crate) fn serves(self, look: &Look) -> bool {
        look.scan.open(self.0).iter().any(|open| match open.end {
            End::Socket(inode) => match look.tables.tcp(inode) {
                Some(tcp) => look.tables.serves(&tcp),
                None => !look.tables.knows(inode) && self.kind(open, inode) == Kind::Server,
            },
            _ => false,
        })
    }

    /// Whether words of elsewhere may come to it: it is connected by whatever internet socket to anything but the master,
    /// serves others by one, is sent datagrams by name, or has something open of which that can't be told.
    pub(crate) fn is_abroad(self, look: &Look) -> bool {
        let strange = |open: &Open| match open.end {
            End::Socket(inode) => match (look.tables.tcp(inode), look.tables.unix(inode)) {
                (Some(tcp), _) => look.tables.serves(&tcp) || !look.leads_to_master(&tcp),
                (None, Some(unix)) => {
                    unix.datagrams && unix.name.as_deref().is_some_and(|name| !is_service(name))
                }
                (None, None) => matches!(self.kind(open, inode), Kind::Carrier | Kind::Server),
            },
            End::Interface | End::Strange => true,
            _ => false,
        };
        look.scan.open(self.0).iter().any(strange)
    }

    /// Whether it is a service of the system or of the desktop, which many have to do with and which carries nothing on.
    pub(crate) fn is_service(self, look: &Look) -> bool {
        look.scan.open(self.0).iter().any(|open| match open.end {
            End::Socket(inode) => look
                .tables
                .unix(inode)
                .is_some_and(|unix| unix.listens && unix.name.as_deref().is_some_and(is_service)),
            _ => false,
        })
    }

    /// Whether it shows what is said at the terminals that it made, and says it nowhere else.
    pub(crate) fn is_terminal(self) -> bool {
        self.runs(&TERMINALS)
    }

    pub(crate) fn is_browser(self) -> bool {
        self.runs(&BROWSERS)
    }

    /// Whether it is what lets people in from elsewhere, by the file that runs, which must be root's.
    pub(crate) fn is_door(self) -> bool {
        self.runs(&DOORS) && ask::program(self.0).is_some_and(|file| file.owner == 0)
    }

    fn runs(self, programs: &[&str]) -> bool {
        let Ok(Some(exe)) = ask::link(self.0, "exe") else { return false };
        // An update replaces the file of a program that runs.
        let name = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        programs.contains(&name.trim_end_matches(" (deleted)"))
    }

    /// Whether it isn't over.
    pub(crate) fn is_there(self) -> bool {
        fs::exists(self.path("")).is_ok_and(|is_there| is_there)
    }

    /// What a socket is that no table has.
    fn kind(self, open: &Open, inode: u64) -> Kind {
        Kind::of(self.0, open.number, inode)
    }

    /// Whether one of the processes above is a task's supervisor: this program as `shim`, of whatever version.
    fn is_below_shim(self) -> Result<bool, Doubt> {
        let mut next = Some(self);
        for _ in 0..DEPTH {
            let Some(process) = next else { return Ok(false) };
            let line = ask::text(process.0, "cmdline")?;
            if line.split(|byte| *byte == 0).nth(1) == Some(b"shim".as_slice()) {
                return Ok(true);
            }
            next = process.stat(1)?.filter(|parent| *parent > 1).map(Self);
        }
        // A chain that has no end changes under our eyes.
        Ok(true)
    }

    /// It and those above it, but for the machine's first.
    pub(crate) fn and_above(self) -> Vec<Self> {
        std::iter::successors(Some(self), |process| process.parent()).take(DEPTH).collect()
    }

    /// The one above, unless that is the machine's first.
    pub(crate) fn parent(self) -> Option<Self> {
        self.stat(1).ok()?.filter(|parent| *parent > 1).map(Self)
    }

    /// The session that it belongs to.
    pub(crate) fn session(self) -> Option<u32> {
        self.stat(3).ok()?
    }

    /// The number of the pseudo-terminal that its session is at: a device with one of the majors 136 to 143.
    pub(crate) fn terminal(self) -> Option<u32> {
        let device = self.stat(4).ok()??;
        let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
        major.checked_sub(136).filter(|bank| *bank < 8).map(|bank| (bank << 8) + minor)
    }

    /// What only processes have in common that came from each other without another program being started: where its
    /// program, its stack and its arguments lie, which is another place each time.
    pub(crate) fn image(self) -> Option<Image> {
        let stat = ask::text(self.0, "stat").ok()?;
        let stat = String::from_utf8_lossy(&stat);
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(23);
        let mut next = |skip| fields.nth(skip)?.parse::<u64>().ok();
        let image = [next(0)?, next(1)?, next(19)?];
        // Who may not look is told nothing, or 1.
        image.iter().all(|place| *place > 1).then_some(image)
    }

    /// A field of `/proc/PID/stat` behind the name, which may hold anything, parentheses too.
    fn stat(self, field: usize) -> Result<Option<u32>, Doubt> {
        let stat = ask::text(self.0, "stat")?;
        let stat = String::from_utf8_lossy(&stat);
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace());
        Ok(fields.and_then(|mut fields| fields.nth(field)?.parse().ok()))
    }
}

/// Chains of parents that are longer aren't looked at.
const DEPTH: usize = 1000;

impl Look {
    /// Looks at everything, for a master that was reached at an address. The descriptors come first: what a process has
    /// opened since then isn't asked about.
    pub(crate) fn read(master: SocketAddr, task_uids: &Range<u32>) -> Result<Self, Doubt> {
        Ok(Self {
            scan: Scan::read(Where::People(task_uids))?,
            tables: Tables::read()?,
            shared: Shared::default(),
            home: Home::here()?,
            task_uids: task_uids.clone(),
            master,
            judged: None,
            reached: RefCell::default(),
        })
    }

    /// Whether this process has an end, too: then it was left open by whoever started both, and is nobody's channel.
    pub(crate) fn is_ours(&self, end: &End) -> bool {
        self.scan.holders(end).contains(&std::process::id())
    }

    /// Whether a connection leads to the port of the master that we are asked for, on this machine, or to another socket
    /// of this process.
    fn leads_to_master(&self, socket: &Tcp) -> bool {
        let ip = socket.remote.ip();
        let here = ip == self.master.ip().to_canonical() || ip.is_loopback();
        let is_ours = |far| self.scan.holders(&End::Socket(far)).contains(&std::process::id());
        (here && socket.remote.port() == self.master.port())
            || self.tables.connection(socket.remote, socket.local).is_some_and(is_ours)
    }
}
