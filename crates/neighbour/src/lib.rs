//! Who is at the other end of a connection on this machine, by what the kernel says (P2, R15, finding A3): a person's
//! own program, or something that may speak for somebody else — a task, a proxy, a tunnel.
//!
//! The question is asked about processes, not about addresses or headers: a loopback address is no identity. Whatever
//! can't be told for certain is a [`Doubt`], and who has a doubt treats the peer as remote. Nothing here waits for
//! anything but `/proc`; it knows no HTTP and no accounts.

mod process;
mod sockets;

pub use sockets::Listener;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

pub use process::Doubt;

use process::{Home, Process};
use sockets::Tables;

/// A socket may be caught between two states: how often, and after which pause, it is looked at again.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(5);

/// Tells people's programs from others. Cheap to make and to clone.
#[derive(Debug, Clone)]
pub struct Neighbours {
    /// Uids that stand for tasks' root and its like.
    task_uids: Range<u32>,
    /// This process counts as a person's program.
    ourselves: bool,
}

impl Neighbours {
    /// The rule for a machine whose tasks' root is mapped to `task_uids`.
    #[must_use]
    pub fn new(task_uids: Range<u32>) -> Self {
        Self { task_uids, ourselves: false }
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
        self.again(|| {
            let inode = Tables::read()?.connection(peer, local).ok_or(Doubt::NoSocket)?;
            let holders = process::holders(inode)?;
            if holders.is_empty() {
                return Err(Doubt::NoHolder);
            }
            self.all_people(holders, local)
        })
    }

    /// Whether the process that opened the other end of a Unix socket is a person's own program.
    ///
    /// # Errors
    /// Why that isn't certain.
    pub fn at_unix(&self, pid: Option<i32>) -> Result<(), Doubt> {
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).ok_or(Doubt::Elsewhere)?;
        self.again(|| {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let sockets = process::sockets_of(pid).map_err(|_| Doubt::Unreadable(pid))?;
            self.all_people(BTreeMap::from([(pid, sockets)]), nowhere)
        })
    }

    /// Who listens on a port of this machine's loopback.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn listeners(port: u16) -> Result<Vec<Listener>, Doubt> {
        Ok(Tables::read()?.listeners(port))
    }

    /// Whether all processes that hold a listening socket live where this process does; those of other users can't be
    /// looked into and don't count.
    ///
    /// # Errors
    /// Which doesn't.
    pub fn is_at_home(&self, listener: &Listener) -> Result<(), Doubt> {
        let home = Home::here()?;
        for (pid, held) in process::holders(listener.inode)? {
            Process { pid, held }.check_home(&home, &self.task_uids)?;
        }
        Ok(())
    }

    fn all_people(
        &self,
        holders: BTreeMap<u32, Vec<process::Held>>,
        master: SocketAddr,
    ) -> Result<(), Doubt> {
        let home = Home::here()?;
        for (pid, held) in holders {
            if pid == std::process::id() {
                if self.ourselves {
                    continue;
                }
                return Err(Doubt::Ourselves);
            }
            let process = Process { pid, held };
            process.check_home(&home, &self.task_uids)?;
            // Read after the descriptors: what the process has opened since then isn't asked about.
            process.check_sockets(&Tables::read()?, master)?;
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the kernel's tables tell nobody when they change")]
    fn again(&self, judge: impl Fn() -> Result<(), Doubt>) -> Result<(), Doubt> {
        let mut verdict = judge();
        for _ in 1..TRIES {
            match verdict {
                Err(Doubt::Unexplained(_) | Doubt::NoHolder) => {
                    std::thread::sleep(PAUSE);
                    verdict = judge();
                }
                other => return other,
            }
        }
        verdict
    }
}

/// `/proc` must be there, and ours to read.
fn unreadable(error: &io::Error) -> Doubt {
    Doubt::Kernel(error.to_string())
}
