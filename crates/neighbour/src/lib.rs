//! Who is at the other end of a connection on this machine, by what the kernel says (P2, R15, A3): a person's
//! own program, or something that may speak for somebody else — a task, a proxy, a tunnel.
//!
//! The question is asked about processes, not about addresses or headers: a loopback address is no identity. Whatever
//! can't be told for certain is a [`Doubt`], and who has a doubt treats the peer as remote. Nothing here waits for
//! anything but `/proc`, nor for that longer than ten seconds (`held`); it knows no HTTP and no accounts.

mod ask;
mod diag;
mod doubt;
mod exact;
mod held;
mod kind;
mod numbers;
mod process;
mod programs;
mod reach;
mod related;
mod scan;
mod shared;
mod sockets;
mod spent;
mod unix;
mod unread;

pub use sockets::Listener;
pub use unread::{all_unread, unread};

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

pub use doubt::Doubt;

use held::Waiting;
use process::{Home, Look, Process};
use scan::{End, Scan, Where};
use sockets::TcpTable;

/// A socket may be caught between two states, longer on a machine that is busy: after which pauses it is looked at again.
const PAUSES: [u64; 6] = [5, 10, 20, 40, 80, 160];

/// Tells people's programs from others. Cheap to make and to clone.
#[derive(Debug, Clone)]
pub struct Neighbours {
    /// Uids that stand for tasks' root and its like.
    task_uids: Range<u32>,
    /// This process counts as a person's program.
    ourselves: bool,
    /// Who makes looks wait.
    waiting: Waiting,
}

impl Neighbours {
    /// The rule for a machine whose tasks' root is mapped to `task_uids`.
    #[must_use]
    pub fn new(task_uids: Range<u32>) -> Self {
        Self { task_uids, ourselves: false, waiting: Waiting::default() }
    }

    /// The same, for a process that sends requests to itself: a test that holds both ends.
    #[must_use]
    pub fn and_this_process(self) -> Self {
        Self { ourselves: true, ..self }
    }

    /// Whether a person's own program is at the other end of a TCP connection of this process: all processes that hold
    /// its socket have to be.
    ///
    /// # Errors
    /// Why that isn't certain.
    pub fn at_tcp(&self, peer: SocketAddr, local: SocketAddr) -> Result<(), Doubt> {
        let (peer, local) = (sockets::canonical(peer), sockets::canonical(local));
        self.again(move |rule| {
            let socket = exact::find(peer, local).map(|socket| socket.inode);
            let mut look = Look::read(local, &rule.task_uids)?;
            let inode = socket.or_else(|| look.tables.connection(peer, local)).ok_or(Doubt::NoSocket)?;
            look.judged = Some(inode);
            match look.scan.holders(&End::Socket(inode)) {
                [] => Err(Doubt::NoHolder),
                holders => rule.all_people(holders, &look),
            }
        })
    }

    /// Whether a person's own program is at the other end of a Unix connection of this process, `socket` being the inode
    /// of our end: all processes that hold the other one have to be. Who opened it says nothing: a process hands sockets
    /// on, and another one gets its number.
    ///
    /// # Errors
    /// Why that isn't certain.
    pub fn at_unix(&self, socket: u64) -> Result<(), Doubt> {
        self.again(move |rule| {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let look = Look::read(nowhere, &rule.task_uids)?;
            let other = look.tables.unix(socket).and_then(|ours| ours.peer).ok_or(Doubt::NoSocket)?;
            match look.scan.holders(&End::Socket(other)) {
                [] => Err(Doubt::NoHolder),
                holders => rule.all_people(holders, &look),
            }
        })
    }

    /// Who on this machine has the other end of a TCP connection of this process (W9): the socket that was accepted, or
    /// while there is none every one that may accept it. `None` when the connection leads to another machine.
    ///
    /// It is asked of a connection that is there, so that nothing can change between the look and the use of it.
    ///
    /// # Errors
    /// When the kernel can't be asked, or the connection ends here and nobody is seen to hold it.
    pub fn behind(local: SocketAddr, remote: SocketAddr) -> Result<Option<Vec<Listener>>, Doubt> {
        let (local, remote) = (sockets::canonical(local), sockets::canonical(remote));
        // Most are found so; it costs next to nothing.
        if let Some(socket) = exact::find(remote, local) {
            return Ok(Some(vec![socket]));
        }
        let tables = TcpTable::read()?;
        let remote_ip = remote.ip().to_canonical();
        let found = tables.other_end(remote, local);
        if let Some(accepted) = found.filter(|listener| listener.inode != 0) {
            return Ok(Some(vec![accepted]));
        }
        // Whom one reaches from the same address is oneself; until it is accepted, the table may not have it yet.
        let here = found.is_some() || remote_ip.is_loopback() || remote_ip == local.ip().to_canonical();
        if !here && !sockets::is_address_of_ours(remote_ip)? {
            return Ok(None);
        }
        match tables.listeners(remote) {
            listeners if listeners.is_empty() => Err(Doubt::NoHolder),
            listeners => Ok(Some(listeners)),
        }
    }

    /// Whether all processes that hold such a socket live where this process does; those of other users can't be
    /// looked into and don't count.
    ///
    /// # Errors
    /// One that doesn't, or why that can't be told.
    pub fn is_at_home(&self, listener: &Listener) -> Result<(), Doubt> {
        let (listener, task_uids) = (*listener, self.task_uids.clone());
        self.waiting.within(move || {
            let home = Home::here()?;
            let scan = Scan::read(Where::Everywhere)?;
            if scan.is_too_much(listener.uid) {
                return Err(Doubt::TooMuch(listener.uid));
            }
            let holders = scan.holders(&End::Socket(listener.inode)).iter();
            holders.copied().map(Process).try_for_each(|process| {
                process.check_home(&home, &task_uids)?;
                process.check_asked(&BTreeSet::new())
            })
        })
    }

    fn all_people(&self, holders: &[u32], look: &Look) -> Result<(), Doubt> {
        for pid in holders {
            if *pid == std::process::id() {
                if self.ourselves {
                    continue;
                }
                return Err(Doubt::Ourselves);
            }
            let process = Process(*pid);
            process.check_home(&look.home, &look.task_uids)?;
            if process.is_browser() {
                related::check_browser(process, look)?;
            } else {
                process.check_alone(look)?;
                related::check(process, look)?;
            }
            process.check_seen(look)?;
            process.check_asked(&look.reached.borrow())?;
        }
        look.tables.check_whole()
    }

    /// Judges in the time that a look may take, and more than once where it may be too early.
    #[expect(clippy::disallowed_methods, reason = "the kernel's tables tell nobody when they change")]
    fn again(&self, judge: impl Fn(&Self) -> Result<(), Doubt> + Send + Sync + 'static) -> Result<(), Doubt> {
        let rule = self.clone();
        self.waiting.within(move || {
            let mut verdict = judge(&rule);
            for pause in PAUSES {
                match verdict {
                    Err(Doubt::Unexplained(_) | Doubt::NoHolder) => {
                        std::thread::sleep(Duration::from_millis(pause));
                        held::go_on()?;
                        verdict = judge(&rule);
                    }
                    other => return other,
                }
            }
            verdict
        })
    }
}

/// `/proc` must be there, and ours to read.
fn unreadable(error: &io::Error) -> Doubt {
    Doubt::Kernel(error.to_string())
}
