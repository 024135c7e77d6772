//! What a task is ended for that no limit of the kernel's is about.

use serde::{Deserialize, Serialize};

use super::ledger::Kind;
use super::queue_watch;
use super::recorder::shown;
use super::usage::DEEPEST;
use crate::exit::Limit;
use crate::spec::Limits;

/// What is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TooMuch {
    /// So many bytes on the disk.
    Bytes(u64),
    /// So many files and directories.
    Files(u64),
    /// Directories that are nested so deeply that nobody looks.
    Depth,
    /// Open files, threads and mappings, more than anybody looks at.
    Held,
    /// A count of its directories waits in the kernel for something that the task has a hand in.
    Uncounted,
    /// Somebody outside moves things in its directories whenever they are counted.
    Moved,
    /// So many bytes of answers of the kernel that nobody has read.
    Answers(u64),
    /// So many bytes in datagram sockets, and how many there may be.
    Datagrams(u64, u64),
    /// Sockets to ask the kernel by, or for datagrams, more than anybody looks at.
    Sockets,
    /// So many bytes in sockets of the network that are in no limit, and how many may be.
    Unpaid(u64, u64),
    /// So many sockets of the network without an address, which no process is found to have.
    Lost(u64),
    /// Sockets of the network without an address, more than anybody looks at.
    Hidden,
    /// The same for TCP.
    Connections,
    /// Open files, more than anybody looks at for their locks.
    OpenForLocks,
    /// What the account's tasks have together, and this one the most of it (`ledger`).
    OfAccount {
        /// What they have too much of.
        kind: Kind,
        /// The task has so much, …
        has: u64,
        /// … all of them, …
        all: u64,
        /// … and how much they may have.
        most: u64,
    },
}

impl TooMuch {
    /// What the task is said to have ended for.
    pub(super) fn limit(self) -> Limit {
        match self {
            Self::Bytes(_) | Self::Files(_) | Self::Depth | Self::Held | Self::Moved | Self::Uncounted => {
                Limit::Scratch
            }
            Self::Answers(_)
            | Self::Datagrams(..)
            | Self::Sockets
            | Self::Unpaid(..)
            | Self::Lost(_)
            | Self::Hidden
            | Self::Connections
            | Self::OpenForLocks
            | Self::OfAccount { .. } => Limit::Memory,
        }
    }

    /// For the task's log.
    pub(super) fn told(self, limits: &Limits) -> String {
        let most = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        match self {
            Self::Bytes(used) => {
                let limit = shown(most(limits.scratch_bytes));
                in_directories(
                    &shown(used),
                    &format!("more than its limit of {limit} (agent.task_limits.scratch)"),
                )
            }
            Self::Files(files) => {
                let limit = most(limits.scratch_files);
                in_directories(
                    &format!("{files} files and directories"),
                    &format!("more than its limit of {limit} (agent.task_limits.scratch_files)"),
                )
            }
            Self::Depth => in_directories(
                &format!("more than {DEEPEST} directories below each other"),
                "too many to be looked at",
            ),
            Self::Held => "the task has more open files, mappings and threads than can be looked at, so nobody knows what \
                           it holds of the disk: it is ended"
                .into(),
            Self::Uncounted => "the task's own directories (/tmp, /var/tmp, /run/determined, the work directory) can't be counted: \
                                whoever reads them waits in the kernel; and the disk has lost more than the task may have: it \
                                is ended"
                .into(),
            Self::Moved => "something outside of the task goes on changing the task's own directories (/tmp, /var/tmp, \
                            /run/determined, the work directory) while they are counted, so nobody knows what it has of the \
                            disk, which has lost more than the task may have: it is ended"
                .into(),
            Self::Answers(bytes) => format!(
                "the task leaves {} of the kernel's answers unread in its netlink sockets, more than {}, and that memory is \
                 in no limit of the kernel's: it is ended",
                shown(bytes),
                shown(queue_watch::ANSWERS)
            ),
            Self::Datagrams(bytes, most) => format!(
                "the task leaves {} unread in its UDP sockets, reports about what it sent among it, more than {}, and not all of \
                 that memory is in a limit of the kernel's: it is ended",
                shown(bytes),
                shown(most)
            ),
            Self::Sockets => format!(
                "the task has more than {} netlink sockets, or UDP sockets, too many to be looked at for what they hold: it is \
                 ended",
                queue_watch::SOCKETS
            ),
            Self::Unpaid(bytes, most) => format!(
                "the task leaves {} in its TCP and UDP sockets that is in no limit of the kernel's, more than {}: what came for \
                 connections that nobody accepts, or reports about what it sent: it is ended",
                shown(bytes),
                shown(most)
            ),
            Self::Lost(sockets) => format!(
                "the task has {sockets} TCP and UDP sockets without an address that none of its processes is found to have \
                 open, so nobody knows what they hold of the machine's memory: it is ended"
            ),
            Self::Hidden => format!(
                "the task has more than {} TCP and UDP sockets without an address, too many to be looked at for what they \
                 hold: it is ended",
                queue_watch::SOCKETS
            ),
            Self::Connections => format!(
                "the task has more than {} TCP sockets, too many to be looked at for what they hold: it is ended",
                queue_watch::CONNECTIONS
            ),
            Self::OpenForLocks => "the task has more open files, or files with more locks, than can be looked at, while this \
                                   machine has many locks of files, whose memory is in no limit of the kernel's: it is ended"
                .into(),
            Self::OfAccount { kind, has, all, most } => of_account(kind, has, all, most),
        }
    }
}

fn of_account(kind: Kind, has: u64, all: u64, most: u64) -> String {
    let bytes = kind == Kind::Unpaid;
    let [has, all, most] = [has, all, most].map(|n| if bytes { shown(n) } else { n.to_string() });
    let what = match kind {
        Kind::Unpaid => {
            "in their sockets that is in no limit of the kernel's (what came for connections that nobody accepts, reports \
             about what was sent, answers that nobody reads)"
        }
        Kind::Ending => {
            "closed TCP connections that the kernel hasn't ended, because the other side doesn't read"
        }
        Kind::Descriptors => {
            "open files, timers, events and the like, of which not all memory is in a limit of the kernel's"
        }
        Kind::Locks => {
            "locks of files, whose memory is in no limit of the kernel's, and for which whoever closes such a file waits"
        }
        Kind::Task => "tasks",
    };
    format!(
        "the tasks of its account have {all} {what}, more than {most}, and this one has the most of it, {has}: it is ended"
    )
}

fn in_directories(has: &str, limit: &str) -> String {
    format!(
        "the task has {has} in its own directories (/tmp, /var/tmp, /run/determined, the work directory), {limit}: it is \
         ended"
    )
}
