//! Login sessions: how long they live, who they speak for.

use std::time::Duration;

use crate::id::{SessionId, UserId};
use crate::time::Timestamp;

/// A session ends this long after login, whether it was used or not (P7, R24).
pub const LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A login session. Its token is known to its holder only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// When it was opened.
    pub created_at: Timestamp,
    /// The first moment at which it is no longer good.
    pub expires_at: Timestamp,
}

impl Session {
    /// Whether it is still good at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r24_thirty_days_from_login_to_the_second() {
        let created_at = Timestamp(1_000_000);
        let session = Session {
            id: SessionId(1),
            user_id: UserId(1),
            created_at,
            expires_at: created_at.plus(LIFETIME),
        };
        let second = Duration::from_secs(1);
        assert!(session.is_live(created_at.plus(LIFETIME - second)));
        assert!(!session.is_live(created_at.plus(LIFETIME)));
        assert!(!session.is_live(created_at.plus(LIFETIME + second)));
    }
}
