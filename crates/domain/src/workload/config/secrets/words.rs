//! What of a command line is shown to others (A10): what can't be a secret. A list of what is a secret would always lack
//! one; so all is hidden but plain words, numbers, paths and the names of options and variables, and of those again what
//! stands where credentials stand: behind `=`, behind one-letter options and whatever is named like a credential, in a
//! URL's user part and query. A shell's script in quotes is judged word by word.

use super::{MASK, looks_secret, names_secret};

/// How much is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eyes {
    /// Other people's: all that could be a secret.
    Others,
    /// Whether there is a secret at all: what stands behind `=` and options is judged by its form.
    Suspicion,
    /// Anybody's, of texts that are there to be read, as names are: what is named or looks like a credential is hidden.
    Readers,
}

impl Eyes {
    /// What of a map's key is shown. Whether it makes a secret of the whole is judged by its form.
    pub(super) fn of_keys(self, key: &str) -> String {
        let eyes = if self == Self::Suspicion { Self::Readers } else { self };
        Words::new(eyes).mask(key)
    }
}

/// Goes through the words of a command line; options reach into the next word, quotes over several.
pub(super) struct Words {
    eyes: Eyes,
    /// The next word is a secret.
    next: bool,
    /// Inside a secret that ends with this character.
    closes_with: Option<char>,
}

impl Words {
    pub(super) fn new(eyes: Eyes) -> Self {
        Self { eyes, next: false, closes_with: None }
    }

    /// One argument, or a whole line for a shell.
    pub(super) fn mask(&mut self, text: &str) -> String {
        if self.next && !text.starts_with('-') && !text.trim().is_empty() {
            // The whole argument is what the option before it asked for.
            return self.behind_a_name(text.trim());
        }
        let mut out = String::with_capacity(text.len());
        for part in text.split_inclusive(char::is_whitespace) {
            let word = part.trim_end_matches(char::is_whitespace);
            if !word.is_empty() {
                out.push_str(&self.word(word));
            }
            out.push_str(part.get(word.len()..).unwrap_or_default());
        }
        // An argument ends what a quote in it began.
        self.closes_with = None;
        out
    }

    fn word(&mut self, word: &str) -> String {
        if let Some(end) = self.closes_with {
            if word.contains(end) {
                self.closes_with = None;
            }
            return String::new();
        }
        let bare = word.trim_start_matches(OPENING);
        if self.next && !bare.starts_with('-') {
            return self.behind_a_name(word);
        }
        self.next = false;
        let colon = word.match_indices(':').map(|(at, _)| word.split_at(at));
        let mut behind = colon.filter(|(_, value)| !value.trim_end_matches(CLOSING).is_empty());
        if let Some((name, value)) = behind.find(|(name, _)| names_credential(name)) {
            return format!("{}:{}", self.option_or_word(name), self.hide(value));
        }
        let address = word.split_once("://").filter(|(scheme, _)| !scheme.contains('='));
        if let Some((scheme, rest)) = address {
            return if self.eyes == Eyes::Readers { without_user(scheme, rest) } else { url(scheme, rest) };
        }
        if let Some((name, value)) = word.split_once('=') {
            return format!("{}={}", self.option_or_word(name), self.value(name, value));
        }
        let shown = self.option_or_word(word);
        self.next = self.asks_for_secret(bare);
        shown
    }

    /// What stands where a secret was announced.
    fn behind_a_name(&mut self, word: &str) -> String {
        let bare = word.trim_start_matches(OPENING).trim_end_matches(CLOSING);
        // `Authorization: Bearer …`
        self.next = ["bearer", "basic", "token", "digest"].iter().any(|kind| bare.eq_ignore_ascii_case(kind));
        if self.next { word.to_owned() } else { self.hide(word) }
    }

    /// What is behind `=`.
    fn value(&mut self, name: &str, value: &str) -> String {
        if value.is_empty() {
            return String::new();
        }
        let harmless = match self.eyes {
            Eyes::Others => false,
            Eyes::Suspicion => !names_credential(name) && is_plain(value),
            Eyes::Readers => !names_credential(name) && !is_token(value) && !value.contains("://"),
        };
        if harmless { value.to_owned() } else { self.hide(value) }
    }

    fn hide(&mut self, value: &str) -> String {
        let count = |of: char| value.matches(of).count();
        let quote = ['"', '\'', '`'].into_iter().find(|quote| count(*quote) % 2 == 1);
        let pairs = [('(', ')'), ('{', '}'), ('[', ']')];
        let bracket = pairs.into_iter().find(|(open, close)| count(*open) > count(*close));
        self.closes_with = quote.or(bracket.map(|(_, close)| close));
        self.next = value.ends_with('\\');
        MASK.to_owned()
    }

    fn option_or_word(&self, word: &str) -> String {
        let bare = word.trim_start_matches(OPENING);
        let letters = bare.strip_prefix('-').filter(|rest| !rest.starts_with('-'));
        match letters {
            // `-psecret`; `-lc` of a shell is none.
            Some(rest)
                if self.eyes == Eyes::Others && rest.chars().count() > 1 && !is_script_option(bare) =>
            {
                let first = rest.chars().next().filter(char::is_ascii_alphabetic);
                let first = first.map(String::from).unwrap_or_default();
                let opening = word.get(..word.len() - bare.len()).unwrap_or_default();
                format!("{opening}-{first}{MASK}")
            }
            _ if self.eyes == Eyes::Readers && !is_token(word) => word.to_owned(),
            _ => plain_part(word),
        }
    }

    /// Whether what comes after this word is a secret. After options of one letter nobody knows what it is.
    fn asks_for_secret(&self, bare: &str) -> bool {
        let short = bare.starts_with('-') && !bare.starts_with("--") && bare.len() > 1;
        let name = bare.trim_end_matches(CLOSING);
        let unknown = short && self.eyes == Eyes::Others && !is_script_option(bare);
        unknown || names_credential(name) || name.eq_ignore_ascii_case("bearer")
    }
}

/// What may stand around a word without being part of it.
const OPENING: &[char] = &['"', '\'', '`', '(', '[', '{', '<', '$', '!', ';', '&', '|'];
const CLOSING: &[char] = &['"', '\'', '`', ')', ']', '}', '>', ',', ';', '&', '|', ':', '.', '!', '?', '\\'];

/// `-c`, `-lc`, `-ec` of shells and interpreters: what follows is a script, judged word by word; `-m` names a module.
fn is_script_option(option: &str) -> bool {
    option == "-m" || (option.len() <= 4 && option.ends_with('c'))
}

/// Whether a word is a token by its form, whatever is around it.
fn is_token(word: &str) -> bool {
    looks_secret(word.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()))
}

/// Parts of options' and variables' names that have credentials behind them, besides [`names_secret`].
const PARTS: [&str; 16] = [
    "pass",
    "pw",
    "pwd",
    "key",
    "keys",
    "auth",
    "pin",
    "otp",
    "sig",
    "signature",
    "dsn",
    "cookie",
    "creds",
    "header",
    "user",
    "userpass",
];

/// Whether an option, a variable or a word announces a credential.
fn names_credential(name: &str) -> bool {
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let last = name.rsplit(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).next();
    let last = last.unwrap_or(name);
    let mut parts = last.split(['_', '-']);
    names_secret(last) || parts.any(|part| PARTS.iter().any(|known| part.eq_ignore_ascii_case(known)))
}

/// The word, or what can be shown of it: of a path the beginning.
fn plain_part(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    let bare = word.trim_start_matches(OPENING);
    let is_path = ["/", "./", "../", "~/"].iter().any(|start| bare.starts_with(start));
    if !is_path {
        return MASK.to_owned();
    }
    let shown: Vec<&str> = word.split('/').take_while(|part| is_plain(part)).collect();
    format!("{}/{MASK}", shown.join("/"))
}

/// `https://name:password@host/path?query`: scheme, host, and the path as far as it is plain.
fn url(scheme: &str, rest: &str) -> String {
    let end = rest.find(['?', '#', '=', ';']).unwrap_or(rest.len());
    let (address, query) = rest.split_at(end);
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("@", host));
    let user = if user.is_empty() { String::new() } else { format!("{MASK}@") };
    let host = if host.split(['.', ':', '-']).all(is_host_part) { host } else { MASK };
    let path = match path {
        "" if address.contains('/') => "/".to_owned(),
        "" => String::new(),
        path => plain_part(&format!("/{path}")),
    };
    let query = match query.chars().next() {
        Some(mark) if query.len() > 1 => format!("{mark}{MASK}"),
        _ => query.to_owned(),
    };
    let scheme = if is_plain(scheme) { scheme } else { MASK };
    format!("{scheme}://{user}{host}{path}{query}")
}

/// The same with all but the user part.
fn without_user(scheme: &str, rest: &str) -> String {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    match authority.rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://{MASK}{}", rest.get(user.len()..).unwrap_or_default()),
        None => format!("{scheme}://{rest}"),
    }
}

fn is_host_part(part: &str) -> bool {
    let short = part.len() <= 5 && part.bytes().all(|byte| byte.is_ascii_digit());
    short || is_plain(part) || (part.starts_with('$') && is_plain(part.trim_start_matches('$')))
}

/// Most characters and digits of a word that is shown.
const LONGEST: usize = 100;
const MOST_DIGITS: usize = 6;

/// Whether a word can't be a secret, by its form alone.
fn is_plain(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let known = |segment: &str| WELL_KNOWN.iter().any(|known| segment.eq_ignore_ascii_case(known));
    let is_separator = |c: char| c.is_ascii_punctuation();
    word.len() <= LONGEST
        && digits <= MOST_DIGITS
        && !is_token(word)
        && word.split(is_separator).all(|part| is_plain_segment(part) || known(part))
}

/// Words by no rule.
const WELL_KNOWN: [&str; 23] = [
    "https",
    "python2",
    "python3",
    "pip3",
    "py3",
    "s3",
    "h5",
    "mp3",
    "mp4",
    "hdf5",
    "fp16",
    "fp32",
    "bf16",
    "int8",
    "utf8",
    "x86",
    "amd64",
    "arm64",
    "sha256sum",
    "md5sum",
    "conv1d",
    "conv2d",
    "base64",
];

/// Letters as words have them, a short number, a number with its unit, or a letter and a digit.
fn is_plain_segment(text: &str) -> bool {
    let letters = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.len() - letters.len();
    if !letters.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        let mut bytes = letters.bytes();
        let pair = bytes.len() == 2 && bytes.next_back().is_some_and(|byte| byte.is_ascii_digit());
        return digits == 0 && pair && bytes.all(|byte| byte.is_ascii_alphabetic());
    }
    match digits {
        0 => is_word(letters),
        1..=3 => letters.len() <= 2,
        _ => letters.is_empty() && digits <= MOST_DIGITS,
    }
}

/// Whether letters look like words somebody wrote: `train`, `PyTorch`, `CUDA`; `xQzRtb` doesn't.
fn is_word(letters: &str) -> bool {
    let capitals = letters.bytes().all(|byte| byte.is_ascii_uppercase());
    if capitals {
        return letters.len() <= 4 || speakable(letters);
    }
    let mut parts: Vec<&str> = Vec::new();
    let mut start = 0;
    for (at, byte) in letters.bytes().enumerate().skip(1) {
        if byte.is_ascii_uppercase() {
            parts.extend(letters.get(start..at));
            start = at;
        }
    }
    parts.extend(letters.get(start..));
    let first = |(number, part): (usize, &&str)| number == 0 || part.len() >= 3;
    parts.iter().enumerate().all(first) && parts.iter().all(|part| part.len() <= 4 || speakable(part))
}

/// Has vowels, and not too many consonants in a row; no longer than words are.
fn speakable(word: &str) -> bool {
    let vowel = |byte: &u8| b"aeiouyAEIOUY".contains(byte);
    let bytes = word.as_bytes();
    let run = bytes.split(vowel).map(<[u8]>::len).max().unwrap_or(0);
    bytes.len() <= 18 && bytes.iter().any(vowel) && run <= 5
}
