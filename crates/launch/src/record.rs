//! The framing of `TASKDIR/log`: a 16-byte header, then the bytes as they were read. No line is looked for here.
//!
//! ```text
//! 0        8        9          12         16
//! | micros | source | 0  0  0  | length   | payload…      little-endian
//! ```
//! A record is written with one system call. A reader that finds less than a whole record at the end of the file
//! waits for the rest: it is being written, or the disk is full and the shim is waiting for space. When no shim
//! lives any more the tail is the remains of a record cut short by a kill.

use serde::{Deserialize, Serialize};

/// Size of a header in bytes.
pub const HEADER_LEN: usize = 16;
/// Largest payload of one record in bytes.
pub const MAX_PAYLOAD: u32 = 65_536;

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Source {
    /// The task's standard output.
    Stdout = 0,
    /// The task's standard error.
    Stderr = 1,
    /// What Muster says about the task; a whole line.
    Agent = 2,
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Unix time in microseconds at which the shim read the payload.
    pub time_micros: u64,
    /// Where the payload comes from.
    pub source: Source,
    /// Length of the payload in bytes, at most [`MAX_PAYLOAD`].
    pub len: u32,
}

/// The header of a record.
#[must_use]
pub fn encode_header(time_micros: u64, source: Source, len: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&time_micros.to_le_bytes());
    header[8] = source as u8;
    header[12..].copy_from_slice(&len.to_le_bytes());
    header
}

/// Reads a header; `None` when the bytes aren't one (a damaged file).
#[must_use]
pub fn decode_header(bytes: &[u8; HEADER_LEN]) -> Option<Header> {
    let [t0, t1, t2, t3, t4, t5, t6, t7, source, 0, 0, 0, l0, l1, l2, l3] = *bytes else {
        return None;
    };
    let source = match source {
        0 => Source::Stdout,
        1 => Source::Stderr,
        2 => Source::Agent,
        _ => return None,
    };
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    (len <= MAX_PAYLOAD).then_some(Header {
        time_micros: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        source,
        len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        for (source, len) in [(Source::Stdout, 0), (Source::Stderr, 1), (Source::Agent, MAX_PAYLOAD)] {
            let time_micros = 1_760_000_000_123_456;
            let header = Header { time_micros, source, len };
            assert_eq!(decode_header(&encode_header(time_micros, source, len)), Some(header));
        }
    }

    #[test]
    fn damaged_headers_are_refused() {
        let good = encode_header(1, Source::Stdout, 5);
        for (at, value) in [(8, 3), (9, 1), (14, 2)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(decode_header(&bad), None, "byte {at}");
        }
    }
}
