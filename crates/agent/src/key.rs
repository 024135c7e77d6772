//! The agent's Ed25519 key: made once, proves to the master who connects (R28). What is signed is defined by `api`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{SECRET_KEY_LENGTH, Signer, SigningKey};

use crate::AgentError;
use crate::data_dir::write_file;

/// The agent's key.
pub(crate) struct Key(SigningKey);

impl Key {
    /// Reads the key, or makes one and keeps it.
    pub(crate) fn load_or_create(path: &Path) -> Result<Self, AgentError> {
        let cannot = |what: &str| AgentError::io(format!("cannot {what} the agent's key {}", path.display()));
        match fs::metadata(path) {
            Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
                return Err(AgentError::KeyExposed(path.to_owned()));
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let key = SigningKey::from_bytes(&rand::random());
                let text = format!("{}\n", STANDARD.encode(key.as_bytes()));
                write_file(path, text.as_bytes()).map_err(cannot("write"))?;
                return Ok(Self(key));
            }
            Err(e) => return Err(cannot("read")(e)),
        }
        let text = fs::read_to_string(path).map_err(cannot("read"))?;
        let secret = STANDARD.decode(text.trim_ascii_end()).ok();
        let secret: Option<[u8; SECRET_KEY_LENGTH]> = secret.and_then(|bytes| bytes.try_into().ok());
        secret
            .map(|bytes| Self(SigningKey::from_bytes(&bytes)))
            .ok_or_else(|| AgentError::Damaged { file: path.to_owned(), why: "it holds no key".to_owned() })
    }

    /// The public half, base64.
    pub(crate) fn public(&self) -> String {
        STANDARD.encode(self.0.verifying_key().as_bytes())
    }

    /// A signature of `text`, base64.
    pub(crate) fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.0.sign(text.as_bytes()).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r28_the_key_is_made_once_and_kept_private() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("agent.key");
        let made = Key::load_or_create(&path).expect("made");
        let read = Key::load_or_create(&path).expect("read");
        assert_eq!(made.public(), read.public());
        assert_eq!(made.sign("x"), read.sign("x"));
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        mode(0o640).expect("changed");
        assert!(matches!(Key::load_or_create(&path), Err(AgentError::KeyExposed(_))));
        mode(0o600).expect("changed");
        fs::write(&path, "AAAA").expect("written");
        assert!(matches!(Key::load_or_create(&path), Err(AgentError::Damaged { .. })));
    }
}
