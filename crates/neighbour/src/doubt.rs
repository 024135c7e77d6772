//! Why somebody isn't taken for a person of this machine.

/// Why a peer isn't taken for a person's own program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It came from another network namespace, or is over.
    #[error("no such connection begins in this network namespace")]
    NoSocket,
    /// Processes of others can't be looked into without root.
    #[error("no process that can be looked into holds the other end")]
    NoHolder,
    /// A process in a pid namespace that isn't below ours.
    #[error("its process can't be seen from here")]
    Elsewhere,
    /// The master's own process.
    #[error("the other end is in this process")]
    Ourselves,
    /// What it is can't be told.
    #[error("process {0} can't be looked into")]
    Unreadable(u32),
    /// A task's process, or one in a container.
    #[error("process {0} lives in namespaces of its own or belongs to a task")]
    NotAtHome(u32),
    /// It listens, or was connected to.
    #[error("process {0} serves others")]
    Serves(u32),
    /// It is connected to others, and may carry their words.
    #[error("process {0} is connected elsewhere too")]
    Connected(u32),
    /// A program that is made for carrying others' words.
    #[error("process {0} is a tunnel")]
    Tunnel(u32),
    /// It speaks through, or was started by, one that isn't alone with the master.
    #[error("process {0} may speak for process {1}, which serves others or is connected elsewhere")]
    SpeaksFor(u32, u32),
    /// It holds a socket of which nothing is known.
    #[error("process {0} holds a socket that this network namespace doesn't know")]
    Unexplained(u32),
    /// Its user's processes, or root's, have more open than is looked at.
    #[error("the processes of uid {0} have too much open to be looked at")]
    TooMuch(u32),
    /// Something makes whoever asks about it wait, and it may have to do with the peer.
    #[error("process {0} can't be looked into at the moment")]
    HeldUp(u32),
    /// There was no answer in time.
    #[error("a look took too long")]
    Late,
    /// `/proc` isn't there.
    #[error("the kernel can't be asked: {0}")]
    Kernel(String),
}
