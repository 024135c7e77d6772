//! The context directory of a task: fetched by the agent, unpacked by the shim as the task's user.

mod fetch;
mod unpack;

pub use fetch::NotFetched;
pub(crate) use fetch::fetch;
pub use unpack::{BadEntry, NotUnpacked, unpack};
