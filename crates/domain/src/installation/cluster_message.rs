//! What administrators tell everybody who uses the installation, for a time (contract "rest", section 4).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::steers;
use crate::time::Timestamp;

/// Longest message, in characters.
pub const MOST_CHARACTERS: usize = 250;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMessage {
    /// What it says: one line.
    pub text: String,
    /// When it begins to be shown.
    pub starts_at: Timestamp,
    /// When it was set.
    pub created_at: Timestamp,
    /// When it is over; `None` is until it is cleared.
    pub ends_at: Option<Timestamp>,
}

/// A message as somebody writes it: times are RFC 3339.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Draft<'t> {
    /// What it says.
    pub text: &'t str,
    /// From when; now when absent.
    pub start: Option<&'t str>,
    /// Until when.
    pub end: Option<&'t str>,
    /// Or how long from its start: `1h30m`, `5d`.
    pub duration: Option<&'t str>,
}

/// Why there is no such message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// Nothing to be read.
    #[error("the message is blank: clear it instead")]
    Blank,
    /// See [`MOST_CHARACTERS`].
    #[error("the cluster message must be at most {MOST_CHARACTERS} characters; got {0}")]
    Long(usize),
    /// It stands on everybody's pages and terminals.
    #[error("the message must be one line, without control characters and others that can't be seen")]
    Steers,
    /// Which of both would count?
    #[error("EndTime and Duration are mutually exclusive")]
    TwoEnds,
    /// As Go writes them.
    #[error("Duration must be a Go-formatted duration string with a positive value")]
    Duration,
    /// Not RFC 3339.
    #[error("{0} time must be RFC 3339, such as 2026-10-26T23:17:12Z")]
    Time(&'static str),
    /// It would never be shown.
    #[error("end time must be after start time")]
    EndsBeforeItStarts,
    /// Nor this one.
    #[error("end time must be after current time")]
    IsOver,
}

impl ClusterMessage {
    /// Reads what somebody wrote at `now`.
    ///
    /// # Errors
    /// The first thing wrong with it.
    pub fn written(draft: Draft<'_>, now: Timestamp) -> Result<Self, InvalidMessage> {
        let text = draft.text.trim();
        let length = text.chars().count();
        if text.is_empty() {
            return Err(InvalidMessage::Blank);
        }
        if length > MOST_CHARACTERS {
            return Err(InvalidMessage::Long(length));
        }
        if text.contains(steers) {
            return Err(InvalidMessage::Steers);
        }
        let time = |name, text: Option<&str>| match text.map(Timestamp::parse_rfc3339) {
            Some(None) => Err(InvalidMessage::Time(name)),
            found => Ok(found.flatten()),
        };
        let starts_at = time("start", draft.start)?.unwrap_or(now);
        let ends_at = match (time("end", draft.end)?, draft.duration) {
            (Some(_), Some(_)) => return Err(InvalidMessage::TwoEnds),
            (None, Some(duration)) => Some(after(starts_at, duration).ok_or(InvalidMessage::Duration)?),
            (end, None) => end,
        };
        if ends_at.is_some_and(|end| end <= starts_at) {
            return Err(InvalidMessage::EndsBeforeItStarts);
        }
        if ends_at.is_some_and(|end| end <= now) {
            return Err(InvalidMessage::IsOver);
        }
        Ok(Self { text: text.to_owned(), starts_at, created_at: now, ends_at })
    }

    /// Whether it will never be shown again.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// Whether everybody is to see it now.
    #[must_use]
    pub fn is_shown(&self, now: Timestamp) -> bool {
        self.starts_at <= now && !self.is_over(now)
    }
}

/// The time so long after `start`, when there is one that can be written down.
fn after(start: Timestamp, duration: &str) -> Option<Timestamp> {
    let end = start.plus(go_duration(duration)?);
    (end > start && Timestamp::parse_rfc3339(&end.rfc3339()) == Some(end)).then_some(end)
}

/// A duration as Go writes it (`1h30m`, `1.5h`, `300ms`), and with the days and weeks that `det`'s help promises.
fn go_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 9] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
        ("d", 86_400.0),
        ("w", 604_800.0),
    ];
    let (mut rest, mut total) = (text.strip_prefix('+').unwrap_or(text), Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_763_805_600_000_000);
    const HOUR: i64 = 3_600_000_000;

    fn written(draft: Draft<'_>) -> Result<ClusterMessage, InvalidMessage> {
        ClusterMessage::written(draft, NOW)
    }

    #[test]
    fn it_is_shown_from_its_start_to_its_end() {
        let (start, end) = (Timestamp(NOW.0 + HOUR).rfc3339(), Timestamp(NOW.0 + 2 * HOUR).rfc3339());
        let draft = Draft { text: " down at noon ", start: Some(&start), end: Some(&end), duration: None };
        let message = written(draft).expect("valid");
        assert_eq!((message.text.as_str(), message.created_at), ("down at noon", NOW));
        let at = |hours: i64| Timestamp(NOW.0 + hours * HOUR);
        assert_eq!([0, 1, 2].map(|hours| message.is_shown(at(hours))), [false, true, false]);
        assert_eq!([0, 1, 2].map(|hours| message.is_over(at(hours))), [false, false, true]);
        let for_good = written(Draft { text: "x", ..Draft::default() }).expect("valid");
        assert!(for_good.is_shown(NOW) && !for_good.is_over(Timestamp(i64::MAX)));
    }

    #[test]
    fn durations_are_gos_and_days_and_weeks_too() {
        for (text, micros) in [
            ("24h", Some(24 * HOUR)),
            ("1h30m", Some(HOUR + HOUR / 2)),
            ("1.5h", Some(HOUR + HOUR / 2)),
            ("+90s", Some(90_000_000)),
            ("300ms2us", Some(300_002)),
            ("5d", Some(5 * 24 * HOUR)),
            ("2w", Some(14 * 24 * HOUR)),
            ("0h", None),
            ("-1h", None),
            ("1", None),
            ("h", None),
            ("1y", None),
            ("1.2.3h", None),
            ("", None),
            // Beyond what can be written as a time.
            ("999999999999h", None),
            ("99999999999999999999h", None),
        ] {
            let end = written(Draft { text: "x", duration: Some(text), ..Draft::default() });
            let end = end.map(|message| message.ends_at);
            let expected =
                micros.map(|micros| Some(Timestamp(NOW.0 + micros))).ok_or(InvalidMessage::Duration);
            assert_eq!(end, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (before, later) = (Timestamp(NOW.0 - HOUR).rfc3339(), Timestamp(NOW.0 + HOUR).rfc3339());
        let plain = Draft { text: "x", ..Draft::default() };
        let (fits, long) = ("é".repeat(250), "é".repeat(251));
        assert!(written(Draft { text: &fits, ..plain }).is_ok());
        for (draft, why) in [
            (Draft { text: "  ", ..plain }, InvalidMessage::Blank),
            (Draft { text: &long, ..plain }, InvalidMessage::Long(251)),
            (Draft { text: "a\nb", ..plain }, InvalidMessage::Steers),
            (Draft { text: "a\u{1b}[2Jb", ..plain }, InvalidMessage::Steers),
            (Draft { start: Some("noon"), ..plain }, InvalidMessage::Time("start")),
            (Draft { end: Some("noon"), ..plain }, InvalidMessage::Time("end")),
            (Draft { end: Some(&later), duration: Some("1h"), ..plain }, InvalidMessage::TwoEnds),
            (Draft { end: Some(&before), ..plain }, InvalidMessage::EndsBeforeItStarts),
            (Draft { start: Some(&later), end: Some(&later), ..plain }, InvalidMessage::EndsBeforeItStarts),
            (Draft { start: Some(&before), duration: Some("1m"), ..plain }, InvalidMessage::IsOver),
        ] {
            assert_eq!(written(draft), Err(why), "{draft:?}");
        }
    }
}
