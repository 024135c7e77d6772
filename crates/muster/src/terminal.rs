//! What others printed, made safe for a terminal (A14): control sequences are written out, so that a log can't retitle
//! the window, answer for the keyboard or write over what stands there. Colours stay.

/// Longest sequence of colours that is one.
const LONGEST_COLOUR: usize = 32;

/// Writes out what steers a terminal; bytes may come in any pieces.
#[derive(Debug, Default)]
pub(crate) struct Escaper {
    /// The beginning of a character or a sequence.
    pending: Vec<u8>,
    /// A colour was set and not reset.
    coloured: bool,
}

/// What a sequence at the beginning of some bytes is.
enum Sequence {
    /// Colours, so many bytes.
    Colours(usize),
    /// Something else.
    Other,
    /// That depends on what comes.
    Open,
}

impl Escaper {
    /// The bytes as a terminal may have them.
    pub(crate) fn escape(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.pending);
        all.extend_from_slice(bytes);
        let mut out = Vec::with_capacity(all.len());
        let mut rest = all.as_slice();
        while let Some(first) = rest.first() {
            let taken = match *first {
                0x1b => match sequence(rest) {
                    Sequence::Colours(length) => {
                        let colours = rest.get(..length).unwrap_or_default();
                        self.coloured = !matches!(colours, b"\x1b[m" | b"\x1b[0m");
                        out.extend_from_slice(colours);
                        length
                    }
                    Sequence::Other => written_out('\u{1b}', &mut out),
                    Sequence::Open => break,
                },
                byte if byte.is_ascii() => {
                    // Runs of plain text go as they are.
                    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0x08);
                    let run = rest.iter().take_while(|byte| plain(byte)).count();
                    out.extend_from_slice(rest.get(..run).unwrap_or_default());
                    if run == 0 { written_out(char::from(byte), &mut out) } else { run }
                }
                byte => match character(rest) {
                    Ok(Some(c)) if super::output::steers(c) => written_out(c, &mut out),
                    Ok(Some(c)) => {
                        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                        c.len_utf8()
                    }
                    Ok(None) => break,
                    Err(()) => {
                        out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
                        1
                    }
                },
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        self.pending = rest.to_vec();
        out
    }

    /// What is left once nothing more comes; colours end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in std::mem::take(&mut self.pending) {
            match byte {
                0x20..=0x7e => out.push(byte),
                byte => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
            }
        }
        if std::mem::take(&mut self.coloured) {
            out.extend_from_slice(b"\x1b[0m");
        }
        out
    }
}

/// Appends a character that steers as text; answers its length in bytes.
fn written_out(c: char, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(c.escape_default().to_string().as_bytes());
    c.len_utf8()
}

/// `ESC [ … m` and nothing else.
fn sequence(bytes: &[u8]) -> Sequence {
    match bytes.get(1) {
        None => return Sequence::Open,
        Some(b'[') => {}
        Some(_) => return Sequence::Other,
    }
    let body = bytes.get(2..).unwrap_or_default();
    let length = body.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b';' | b':')).count();
    match body.get(length) {
        _ if length > LONGEST_COLOUR => Sequence::Other,
        None => Sequence::Open,
        Some(b'm') => Sequence::Colours(length + 3),
        Some(_) => Sequence::Other,
    }
}

/// The character at the beginning; `None` when the rest of it is still to come.
fn character(bytes: &[u8]) -> Result<Option<char>, ()> {
    let window = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    match std::str::from_utf8(window) {
        Ok(text) => Ok(text.chars().next()),
        Err(error) => {
            let valid = window.get(..error.valid_up_to()).unwrap_or_default();
            match std::str::from_utf8(valid).ok().and_then(|text| text.chars().next()) {
                Some(c) => Ok(Some(c)),
                None if error.error_len().is_none() && bytes.len() < 4 => Ok(None),
                None => Err(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> String {
        let mut escaper = Escaper::default();
        let mut out = escaper.escape(bytes);
        out.extend(escaper.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a14_what_steers_is_written_out_and_colours_stay() {
        for (raw, shown) in [
            (&b"plain \xc3\xbc\ttext\r\n"[..], "plain \u{fc}\ttext\r\n"),
            (b"\x1b[1;31mred\x1b[0m", "\u{1b}[1;31mred\u{1b}[0m"),
            (b"\x1b[31mred", "\u{1b}[31mred\u{1b}[0m"),
            (b"\x1b]0;title\x07", "\\u{1b}]0;title\\u{7}"),
            (b"\x1b[2Jgone\x1b[6n", "\\u{1b}[2Jgone\\u{1b}[6n"),
            (b"\xc2\x9b2J \x9b2J", "\\u{9b}2J \\x9b2J"),
            ("\u{202e}txt".as_bytes(), "\\u{202e}txt"),
            (b"cut \x1b[", "cut \\x1b["),
            (b"cut \xe2\x82", "cut \\xe2\\x82"),
        ] {
            assert_eq!(whole(raw), shown);
        }
    }

    #[test]
    fn a14_pieces_make_no_difference() {
        let all = b"a\x1b[38;5;1mb\xe2\x82\xac\x1b[2J\xc2\x9bx\x1b]8;;http://x\x1b\\y\x1b[0m\xff".as_slice();
        for cut in 0..=all.len() {
            let mut escaper = Escaper::default();
            let (one, two) = all.split_at(cut);
            let mut out = escaper.escape(one);
            out.extend(escaper.escape(two));
            out.extend(escaper.finish());
            assert_eq!(String::from_utf8_lossy(&out), whole(all), "cut at {cut}");
        }
    }
}
