//! The fingerprint of a certificate: what people compare at first contact, and what is remembered of it (D9).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a certificate's DER form, written `SHA256:ab:cd:…` as browsers and `openssl x509` have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

/// The text is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no fingerprint of a certificate: it is written SHA256: and 64 hexadecimal digits")]
pub struct InvalidFingerprint(String);

impl Fingerprint {
    /// That of the certificate with this DER form.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SHA256")?;
        self.0.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    /// The word before it, colons, and the case of letters don't matter.
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let refuse = || InvalidFingerprint(text.to_owned());
        let trimmed = text.trim();
        let digits = match trimmed.split_at_checked(7) {
            Some((word, rest)) if word.eq_ignore_ascii_case("sha256:") => rest,
            _ => trimmed,
        };
        let digits: Vec<u32> = digits
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).ok_or_else(refuse))
            .collect::<Result<_, _>>()?;
        if digits.len() != 64 {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = pair.iter().fold(0, |value, digit| value << 4 | digit);
            *byte = u8::try_from(value).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;

    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_it_is_read() {
        let print = Fingerprint::of(b"certificate");
        let text = print.to_string();
        assert_eq!(text.len(), 6 + 32 * 3);
        for form in [
            text.clone(),
            text.to_uppercase(),
            text.replace(':', "").replacen("SHA256", "sha256:", 1),
            text[7..].to_owned(),
        ] {
            assert_eq!(form.parse(), Ok(print), "{form}");
        }
        for bad in ["", "SHA256:", "SHA256:xy", &text[..90], &format!("{text}:00"), "SHA512:00"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
