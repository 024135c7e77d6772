//! An invitation: what an agent needs to enrol, as one text. It holds the secret that is good once, and the master's
//! key, so that the agent knows from its first word on whom it obeys (A2).

use std::fmt;
use std::str::FromStr;

use crate::Public;

/// What an agent needs to enrol.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Good once, for the master.
    pub secret: String,
    /// Whom to tell it.
    pub master: Public,
}

/// A text that is no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadInvitation {
    /// It is one of a version that didn't name the master's key.
    #[error("it is of an older version of Muster and doesn't name the master's key")]
    Old,
    /// It is something else.
    #[error("it isn't what `muster agent invite` prints")]
    Other,
}

/// `SECRET.KEY`.
impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.secret, self.master)
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invitation").field("master", &self.master).finish_non_exhaustive()
    }
}

impl FromStr for Invitation {
    type Err = BadInvitation;
    fn from_str(text: &str) -> Result<Self, BadInvitation> {
        match text.trim().split_once('.') {
            Some((secret, key)) if !secret.is_empty() => {
                let master = key.parse().map_err(|_| BadInvitation::Other)?;
                Ok(Self { secret: secret.to_owned(), master })
            }
            None if text.trim().starts_with("mai_") => Err(BadInvitation::Old),
            _ => Err(BadInvitation::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    #[test]
    fn one_text() {
        let master = Secret::from_random([1; 32]).public();
        let invitation = Invitation { secret: "mai_x-_1".to_owned(), master };
        assert_eq!(format!("{invitation}\n").parse(), Ok(invitation.clone()));
        assert!(!format!("{invitation:?}").contains("mai_"));
        assert_eq!("mai_abc".parse::<Invitation>(), Err(BadInvitation::Old));
        for bad in ["", ".", "x", "mai_x.", "mai_x.AAAA", &format!(".{master}")] {
            assert_eq!(bad.parse::<Invitation>(), Err(BadInvitation::Other), "{bad:?}");
        }
    }
}
