//! Muster's own tokens in what tasks print (A10): masked before it is stored, by as many other characters, so that every
//! offset stays what it was. A token may come in parts, over any number of records; of the first parts of one that is cut
//! into small pieces less stays readable than would help anybody to guess the rest.
//!
//! Tokens are known by their form alone: the master keeps no token, so after a restart it couldn't compare.

use std::borrow::Cow;
use std::ops::Range;

use domain::log::{HEADER_BYTES, Records};
use memchr::memchr_iter;

/// What our tokens begin with; `_` comes behind it.
const KINDS: [&[u8; 3]; 6] = [b"mst", b"mtt", b"mat", b"mai", b"mui", b"mud"];

/// Characters of a token behind its beginning: 256 bits in base64.
const BODY: usize = 43;

/// So much of what may become a token is masked before its end is seen, if it has capital and small letters.
const SURE: usize = 16;

/// Longest text that may be the beginning of a token, and not its end.
const CARRIED: usize = 4 + BODY;

/// What takes a character's place.
const MASKED: u8 = b'*';

/// What the sources of a log printed last, if a token may go on there.
#[derive(Debug, Clone, Default)]
pub(super) struct Tails([Vec<u8>; 4]);

impl Tails {
    /// Notes what is stored already.
    pub(super) fn stored(&mut self, source: u8, payload: &[u8]) {
        if let Some(tail) = self.0.get_mut(usize::from(source)) {
            tail.extend_from_slice(payload);
            tail.drain(..tail.len().saturating_sub(CARRIED));
        }
    }

    /// Masks tokens in whole records.
    pub(super) fn mask<'a>(&mut self, records: &'a [u8]) -> Cow<'a, [u8]> {
        let mut masked = Cow::Borrowed(records);
        let mut reader = Records::new(records);
        loop {
            let begin = reader.consumed() + HEADER_BYTES;
            let Some(record) = reader.next() else { return masked };
            let Some(tail) = self.0.get_mut(usize::from(record.source.as_byte())) else { continue };
            for hit in hits(tail, record.payload) {
                let place = begin + hit.start..begin + hit.end;
                if let Some(place) = masked.to_mut().get_mut(place) {
                    place.fill(MASKED);
                }
            }
        }
    }
}

/// The places in `payload` that have to be masked, when it comes behind `tail`, which becomes what comes next.
fn hits(tail: &mut Vec<u8>, payload: &[u8]) -> Vec<Range<usize>> {
    let mut hits = Vec::new();
    let before = tail.len();
    // A token that began before: no more than its rest is looked at together with the beginning.
    if before > 0 {
        let rest = payload.get(..payload.len().min(CARRIED + 1)).unwrap_or_default();
        let joined = [tail.as_slice(), rest].concat();
        let ends = rest.len() == payload.len();
        let both = tokens(&joined, ends).filter(|hit| hit.end > before);
        hits.extend(both.map(|hit| hit.start.saturating_sub(before)..hit.end - before));
    }
    hits.extend(tokens(payload, true));
    tail.extend_from_slice(payload.get(payload.len().saturating_sub(CARRIED)..).unwrap_or_default());
    let kept = tail.len().saturating_sub(CARRIED);
    tail.drain(..kept);
    let begin = (0..tail.len()).find(|at| tail.get(*at..).is_some_and(may_go_on));
    tail.drain(..begin.unwrap_or(tail.len()));
    hits
}

/// The bodies of tokens in `bytes`. With `open`, more may come behind the end.
fn tokens(bytes: &[u8], open: bool) -> impl Iterator<Item = Range<usize>> + '_ {
    memchr_iter(b'_', bytes).filter_map(move |at| {
        let kind = at.checked_sub(3).and_then(|begin| bytes.get(begin..at))?;
        KINDS.iter().find(|known| known.as_slice() == kind)?;
        let body = bytes.get(at + 1..)?;
        let length = body.iter().take(BODY).take_while(|byte| is_body(**byte)).count();
        let cut = open && at + 1 + length == bytes.len();
        let token = length == BODY || (cut && length >= SURE);
        (token && is_mixed(body.get(..length)?)).then_some(at + 1..at + 1 + length)
    })
}

fn is_body(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | MASKED)
}

/// Capital and small letters, as names in programs seldom have; what was masked had them.
fn is_mixed(body: &[u8]) -> bool {
    let has = |is: fn(&u8) -> bool| body.iter().any(is);
    body.contains(&MASKED) || (has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase))
}

/// Whether a text is the beginning of a token, and not all of it.
fn may_go_on(text: &[u8]) -> bool {
    let kind = text.get(..text.len().min(3)).unwrap_or_default();
    let known = KINDS.iter().any(|known| known.starts_with(kind));
    let body = text.get(4..).unwrap_or_default();
    known
        && text.get(3).is_none_or(|byte| *byte == b'_')
        && body.len() < BODY
        && body.iter().all(|byte| is_body(*byte))
}

#[cfg(test)]
mod tests {
    use domain::log::{Record, Source};
    use domain::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "mtt_Zm9vYmFyLWJhei1xdXV4LTAxMjM0NTY3ODlfYWJjZA0";

    /// What is stored of a text that is printed in these parts, and how many bytes.
    fn stored(text: &[u8], cuts: &[usize], restart: bool) -> Vec<u8> {
        let mut tails = Tails::default();
        let (mut out, mut from) = (Vec::new(), 0);
        for cut in cuts.iter().copied().chain([text.len()]) {
            let mut bytes = Vec::new();
            // Another stream in between changes nothing.
            for (source, payload) in [(Source::Stdout, &text[from..cut]), (Source::Stderr, b"mst_")] {
                Record { at: Timestamp(1), source, rank: None, payload }.encode(&mut bytes);
            }
            let masked = tails.mask(&bytes);
            assert_eq!(masked.len(), bytes.len(), "offsets stay");
            let own = |record: &Record<'_>| record.source == Source::Stdout;
            for record in Records::new(&masked).filter(own) {
                out.extend_from_slice(record.payload);
            }
            if restart {
                tails = Tails::default();
                tails.stored(Source::Stdout.as_byte(), &out);
            }
            from = cut;
        }
        out
    }

    #[test]
    fn a10_tokens_are_masked_and_nothing_else() {
        for kind in ["mst", "mtt", "mat", "mai", "mui", "mud"] {
            let token = TOKEN.replace("mtt", kind);
            assert_eq!(token.len(), 47);
            let line = format!("a {token}\nb={token}, {token}{token}");
            let masked = line.replace(&token, &format!("{kind}_{}", "*".repeat(43)));
            assert_eq!(String::from_utf8(stored(line.as_bytes(), &[], false)).expect("text"), masked);
        }
        let names =
            "mat_transpose(mst_cost, mtt_0123456789) mat_a_very_long_name_of_something_in_a_program_x mst_";
        assert_eq!(stored(names.as_bytes(), &[], false), names.as_bytes());
        assert_eq!(stored(names.as_bytes(), &(1..names.len()).collect::<Vec<_>>(), false), names.as_bytes());
    }

    proptest! {
        #[test]
        fn a10_a_token_in_parts_is_masked_too(
            before in "[a-z_ \n]{0,60}",
            behind in "[ \n=][a-zA-Z_ \n]{0,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
            restart in any::<bool>(),
        ) {
            let text = format!("{before}{TOKEN}{behind}{TOKEN}");
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            cuts.sort_unstable();
            cuts.dedup();
            cuts.retain(|cut| *cut > 0);
            let out = String::from_utf8(stored(text.as_bytes(), &cuts, restart)).expect("text");
            prop_assert_eq!(out.len(), text.len());
            for part in TOKEN.as_bytes().windows(4 + SURE + 1) {
                prop_assert!(!out.contains(std::str::from_utf8(part).expect("text")), "{}", out);
            }
            let end = out.get(before.len() + TOKEN.len()..before.len() + TOKEN.len() + behind.len());
            prop_assert_eq!(end, Some(behind.as_str()));
        }
    }
}
