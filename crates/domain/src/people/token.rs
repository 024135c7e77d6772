//! Access tokens: named, scoped, ending by themselves or when revoked.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{TokenId, UserId};
use crate::time::Timestamp;

/// What a token is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Reading what its account may read.
    Read,
    /// All that its account may do.
    #[default]
    Full,
}

impl Scope {
    /// The text in the database and on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Full => "full",
        }
    }

    /// Reads what a client asks for; `None` when it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Read, Self::Full].into_iter().find(|scope| scope.as_str() == text)
    }

    /// Reads the text of [`Self::as_str`]; anything else is the smaller one (R27).
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        if text == "full" { Self::Full } else { Self::Read }
    }
}

/// An access token. Its secret is known to its holder only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub user: UserId,
    /// That account's name.
    pub username: String,
    /// What it is for.
    pub description: String,
    /// What it is good for.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// The first moment at which it is no longer good.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    /// Whether it is still good at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

/// Longest description, in characters.
const DESCRIPTION_MAX: usize = 256;

/// Why a description was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDescription {
    /// Too long.
    #[error("a token's description has {DESCRIPTION_MAX} characters at most")]
    TooLong,
    /// Control characters.
    #[error("a token's description cannot contain control characters")]
    BadCharacter,
}

/// Trims and checks what a token is for.
///
/// # Errors
/// The rule that it breaks.
pub fn description(raw: &str) -> Result<String, InvalidDescription> {
    let text = raw.trim();
    if text.chars().count() > DESCRIPTION_MAX {
        return Err(InvalidDescription::TooLong);
    }
    if text.contains(char::is_control) {
        return Err(InvalidDescription::BadCharacter);
    }
    Ok(text.to_owned())
}

/// A lifespan can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLifespan {
    /// No duration.
    #[error("failed to parse lifespan {0}: write it like 48h or 90m")]
    Unreadable(String),
    /// Zero or less.
    #[error("lifespan must be a Go-formatted duration string with a positive value")]
    NotPositive,
    /// Longer than allowed.
    #[error("token Lifespan must be less than max token lifespan")]
    TooLong,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a new token lives: none is the default, `-1` the longest, else a duration such as Go writes it (`48h`,
/// `1h30m`, `90s`).
///
/// # Errors
/// When it is none, or too long.
pub fn lifespan(text: Option<&str>, default_days: u32, max_days: u32) -> Result<Duration, InvalidLifespan> {
    let max = DAY * max_days;
    let wanted = match text {
        None | Some("") => DAY * default_days,
        Some("-1") => max,
        Some(text) => go_duration(text)?,
    };
    if wanted > max { Err(InvalidLifespan::TooLong) } else { Ok(wanted) }
}

fn go_duration(text: &str) -> Result<Duration, InvalidLifespan> {
    let unreadable = || InvalidLifespan::Unreadable(text.escape_debug().to_string());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(unreadable)?;
        let (number, after) = rest.split_at(end);
        let number: f64 = number.parse().map_err(|_| unreadable())?;
        let units = [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, factor) =
            units.into_iter().find(|(unit, _)| after.starts_with(unit)).ok_or_else(unreadable)?;
        seconds += number * factor;
        rest = after.get(unit.len()..).unwrap_or_default();
    }
    if negative || seconds <= 0.0 {
        return if text.is_empty() { Err(unreadable()) } else { Err(InvalidLifespan::NotPositive) };
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| InvalidLifespan::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifespans_are_read_as_go_writes_them() {
        let read = |text: &str| lifespan(Some(text), 30, 365);
        assert_eq!(read("48h"), Ok(DAY * 2));
        assert_eq!(read("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(read("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(read("-1"), Ok(DAY * 365));
        assert_eq!(lifespan(None, 30, 365), Ok(DAY * 30));
        assert_eq!(read("8761h"), Err(InvalidLifespan::TooLong));
        assert_eq!(read("-2h"), Err(InvalidLifespan::NotPositive));
        assert_eq!(read("0s"), Err(InvalidLifespan::NotPositive));
        for bad in ["x", "5", "h", "5x", "1h2", "--1h"] {
            assert!(matches!(read(bad), Err(InvalidLifespan::Unreadable(_))), "{bad}");
        }
    }
}
