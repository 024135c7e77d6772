//! Tokens and digests.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::password::CLIENT_SALT;
use sha2::{Digest as _, Sha256, Sha512};

use crate::system::Entropy;

/// A fresh secret of 256 random bits as text, with a prefix that says what it is.
#[must_use]
pub fn token(entropy: &dyn Entropy, prefix: &str) -> String {
    format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(entropy.bytes()))
}

/// What the database keeps of a token: its SHA-256 in hexadecimal (R23).
#[must_use]
pub fn digest(token: &str) -> String {
    hex(&Sha256::digest(token.as_bytes()))
}

/// The transform that Determined's clients apply to a password; blank stays blank (contract "identity", section 3).
#[must_use]
pub fn client_transform(password: &str) -> String {
    if password.is_empty() {
        return String::new();
    }
    hex(&Sha512::new().chain_update(CLIENT_SALT).chain_update(password).finalize())
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_that_of_the_clients() {
        let expected = "a49c57645ffa42d990a4d7ba2eafb6c47f9e73fbfd3e3e1f70a762c0e4ae79e5d6762ef15e0a66a5c9a8dc267128f691f9e7aa0d734706d4f47b894ec6fc68f8";
        assert_eq!(client_transform("Passw0rd!"), expected);
        assert_eq!(client_transform(""), "");
    }
}
