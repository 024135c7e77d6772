//! X25519 keys and their text. Where they are kept is their owners' business.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use snow::params::{DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver as _, DefaultResolver};

/// Bytes of a key.
const LENGTH: usize = 32;

/// A text or a number of bytes that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no key")]
pub struct BadKey;

/// The half of a key that others know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Public([u8; LENGTH]);

impl Public {
    /// # Errors
    /// When it isn't 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadKey> {
        bytes.try_into().map(Self).map_err(|_| BadKey)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// For people to compare: the first half of the key's SHA-256, hexadecimal, in groups of eight.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.0);
        let group = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        digest[..LENGTH / 2].chunks(4).map(group).collect::<Vec<_>>().join(":")
    }
}

/// Base64 for addresses, without padding.
impl fmt::Display for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Public({self})")
    }
}

impl FromStr for Public {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadKey)?;
        Self::from_bytes(&bytes)
    }
}

/// A whole key.
#[derive(Clone)]
pub struct Secret {
    private: [u8; LENGTH],
    public: Public,
}

impl Secret {
    /// The key that 32 random bytes make; they must be good enough for secrets.
    ///
    /// # Panics
    /// Never: the curve is built in.
    #[must_use]
    pub fn from_random(private: [u8; LENGTH]) -> Self {
        let Some(mut curve) = DefaultResolver.resolve_dh(&DHChoice::Curve25519) else {
            unreachable!("the curve is a feature that this crate asks for")
        };
        curve.set(&private);
        let mut public = [0; LENGTH];
        public.copy_from_slice(&curve.pubkey()[..LENGTH]);
        Self { private, public: Public(public) }
    }

    /// The half for others.
    #[must_use]
    pub fn public(&self) -> Public {
        self.public
    }

    /// What is kept in a file that only its owner reads: base64 and a newline.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{}\n", STANDARD.encode(self.private))
    }

    /// Reads [`Self::to_text`]'s form.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_text(text: &str) -> Result<Self, BadKey> {
        let bytes = STANDARD.decode(text.trim_ascii_end()).map_err(|_| BadKey)?;
        bytes.try_into().map(Self::from_random).map_err(|_| BadKey)
    }

    /// What proves to the holder of this key, and to nobody else, that it said these words: an HMAC, in base64. It is good for
    /// as long as there is the key, and whoever has it knows nothing else by it.
    ///
    /// # Panics
    /// Never: the hash is built in.
    #[must_use]
    pub fn vouch(&self, words: &str) -> String {
        let Some(mut hash) = DefaultResolver.resolve_hash(&HashChoice::Blake2s) else {
            unreachable!("the hash is a feature that this crate asks for")
        };
        let (mut key, mut proof) = ([0; LENGTH], [0; LENGTH]);
        // A key of its own for this purpose.
        hash.hmac(&self.private, b"muster vouches 1", &mut key);
        hash.hmac(&key, words.as_bytes(), &mut proof);
        URL_SAFE_NO_PAD.encode(proof)
    }

    /// Whether that is what [`Self::vouch`] says of these words.
    #[must_use]
    pub fn vouched(&self, words: &str, proof: &str) -> bool {
        // How long it takes says nothing of how much of it is right.
        Sha256::digest(self.vouch(words)) == Sha256::digest(proof)
    }

    pub(crate) fn private(&self) -> &[u8; LENGTH] {
        &self.private
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private half is nobody's business in a log.
        write!(f, "Secret({})", self.public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_vouches_for_its_own_words_alone() {
        let (key, other) = (Secret::from_random([7; 32]), Secret::from_random([8; 32]));
        let proof = key.vouch("run 1 of a");
        assert_eq!(proof.len(), 43);
        assert!(key.vouched("run 1 of a", &proof));
        assert!(!key.vouched("run 1 of b", &proof) && !other.vouched("run 1 of a", &proof));
        assert!(!key.vouched("run 1 of a", "") && !key.vouched("run 1 of a", &proof[..42]));
    }

    #[test]
    fn keys_have_texts() {
        let key = Secret::from_random([7; 32]);
        let again = Secret::from_text(&key.to_text()).expect("a key");
        assert_eq!(again.public(), key.public());
        assert_ne!(Secret::from_random([8; 32]).public(), key.public());
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert_eq!(key.public().fingerprint().len(), 35);
        assert!(!format!("{key:?}").contains(key.to_text().trim()));
        for bad in ["", "AAAA", "no base64!"] {
            assert_eq!(bad.parse::<Public>(), Err(BadKey), "{bad:?}");
            assert!(Secret::from_text(bad).is_err(), "{bad:?}");
        }
    }
}
