//! Acting for Muster itself: its start, its clean-up, its scheduler. No policy is asked then, so that whoever can do it is
//! handed the right to: a value that is made where a master is started, and nowhere else.
//!
//! `cargo xtask lint` knows where [`System::at_start`] may stand, and that `web`, which speaks for others, never names
//! [`System`] nor is handed one.

use std::fmt;

use crate::audit::By;

/// The right to act for Muster itself.
#[derive(Debug, Clone)]
pub struct System(());

impl System {
    /// For whoever starts a master.
    #[must_use]
    pub fn at_start() -> Self {
        Self(())
    }

    /// Muster itself as the one who acts. `reason` is for the reader of the code and of the audit log.
    #[must_use]
    pub fn by(&self, reason: &'static str) -> By {
        By::System { reason: Reason(reason) }
    }
}

/// What made Muster act; only who holds a [`System`] can say it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Reason(&'static str);

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
