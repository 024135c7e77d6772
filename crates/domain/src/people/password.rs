//! What a password may be, and the transform that Determined's clients apply before sending one.
//! Hashing for storage is done in `master`; SHA-512 is passed in by the caller's crate.

/// Longest password that is looked at, in bytes (R19).
pub const MAX_BYTES: usize = 1024;

/// Shortest new password that our own clients accept, in characters.
pub const MIN_CHARS: usize = 8;

/// Put in front of a non-blank password before SHA-512 (contract "identity", section 3).
pub const CLIENT_SALT: &str = "GubPEmmotfiK9TMD6Zdw";

/// A password as a client sent it. Absent and empty are the blank one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// The password, or its transform.
    pub text: String,
    /// It is the transform.
    pub is_hashed: bool,
}

impl std::fmt::Debug for Sent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sent(…)")
    }
}

/// Why our own clients refuse a new password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Shorter than [`MIN_CHARS`].
    #[error("the password is too short: use 8 characters or more")]
    TooShort,
    /// Longer than [`MAX_BYTES`].
    #[error("the password is too long: use at most 1024 bytes")]
    TooLong,
    /// One of the passwords that are tried first.
    #[error("the password is one of the most common ones: choose another")]
    Common,
}

/// The most used passwords of 8 characters and more, lower case.
const COMMON: &[&str] = &[
    "password",
    "password1",
    "password123",
    "passw0rd",
    "12345678",
    "123456789",
    "1234567890",
    "11111111",
    "00000000",
    "87654321",
    "qwertyui",
    "qwertyuiop",
    "qwerty123",
    "qwerty12345",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "iloveyou",
    "sunshine",
    "princess",
    "football",
    "baseball",
    "welcome1",
    "welcome123",
    "letmein1",
    "letmein123",
    "trustno1",
    "superman",
    "starwars",
    "whatever",
    "computer",
    "internet",
    "michelle",
    "jennifer",
    "abcd1234",
    "abc12345",
    "abcdefgh",
    "asdfghjk",
    "asdfghjkl",
    "zxcvbnm1",
    "zxcvbnm123",
    "admin123",
    "admin1234",
    "administrator",
    "changeme",
    "changeme1",
    "changeme123",
    "default1",
    "rootpassword",
    "determined",
    "polyaxon",
    "master123",
    "dragon123",
    "monkey123",
    "shadow123",
    "killer123",
    "66666666",
    "88888888",
    "99999999",
    "12341234",
    "11112222",
    "123123123",
    "987654321",
    "147258369",
    "q1w2e3r4",
    "p@ssw0rd",
    "p@ssword",
    "pa55word",
    "secret123",
];

/// Checks a new password that a person chose in our own clients. Blank is a state of its own and not asked here.
///
/// # Errors
/// Why it is too weak, with what to do.
pub fn check_new(password: &str) -> Result<(), WeakPassword> {
    if password.len() > MAX_BYTES {
        return Err(WeakPassword::TooLong);
    }
    if password.chars().count() < MIN_CHARS {
        return Err(WeakPassword::TooShort);
    }
    if COMMON.contains(&password.to_lowercase().as_str()) {
        return Err(WeakPassword::Common);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_long_and_common_passwords_are_refused() {
        assert_eq!(check_new("kurz"), Err(WeakPassword::TooShort));
        assert_eq!(check_new("PassWord123"), Err(WeakPassword::Common));
        assert_eq!(check_new(&"x".repeat(1025)), Err(WeakPassword::TooLong));
        assert_eq!(check_new("a quiet lake"), Ok(()));
    }
}
