//! The agent: enrols with a master, starts tasks through a [`launcher`], ships their logs, reports their ends.
//!
//! What becomes a Unix user and runs the command is `launch`'s shim, in a process of its own that outlives the
//! agent; [`launcher::sandbox`] alone speaks to it. What decides which task runs here, and as whom, is the master. There is no database here: all that the
//! agent knows stands in its data directory, and a restarted agent reads it from there.
//!
//! ```text
//! DATA/ 0700   link.key      its key, made once                         (key)
//!              agent.json    name and master's key, once enrolled       (enrolment)
//!              agent.lock    held while an agent uses the directory     (data_dir)
//!              reserve       space for starts and ends on a full disk        (reserve)
//!              incoming/     context directories on their way           (context::fetch)
//!              environment/  the Python of tasks, once one needs it       (environment)
//!              tasks/ID/     one run each, made and read by its launcher     (launcher, run::disk)
//!              tasks.room    what others had of the disk lately         (room)
//! ```
//!
//! One task of the runtime drives the connection ([`run()`]), one drives each held run (`run::Follower`). A run goes
//! on whether or not there is a connection; a connection only gives it somewhere to ship to.

mod connection;
pub mod context;
mod data_dir;
mod descriptor;
mod device;
mod dial;
mod encrypted;
mod enrolment;
pub mod environment;
mod error;
mod key;
pub mod launcher;
mod lost;
mod machine;
mod options;
mod outbox;
mod relay;
mod reserve;
pub mod room;
mod run;
mod runs;
mod supervise;
mod watch;

pub use data_dir::{LOCK_FILE, may_be_ours};
pub use enrolment::{enrolled_as, enrolled_with};
pub use error::AgentError;
pub use launcher::sandbox::{AccountLimits, Bound, TaskLimits, strays};
pub use options::Options;
pub use supervise::run;
