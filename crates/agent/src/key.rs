//! The agent's key: made once, proves to the master who connects (R28). What is done with it is in crate `link`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use link::Secret;

use crate::AgentError;
use crate::data_dir::write_file;

/// Reads the key, or makes one and keeps it.
pub(crate) fn load_or_create(path: &Path) -> Result<Secret, AgentError> {
    let cannot = |what: &str| AgentError::io(format!("cannot {what} the agent's key {}", path.display()));
    match fs::metadata(path) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            return Err(AgentError::KeyExposed(path.to_owned()));
        }
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return replace(path),
        Err(e) => return Err(cannot("read")(e)),
    }
    let text = fs::read_to_string(path).map_err(cannot("read"))?;
    Secret::from_text(&text).map_err(|e| AgentError::Damaged { file: path.to_owned(), why: e.to_string() })
}

/// Makes another key: the one before is refused for ever.
pub(crate) fn replace(path: &Path) -> Result<Secret, AgentError> {
    let key = Secret::from_random(rand::random());
    let cannot = AgentError::io(format!("cannot write the agent's key {}", path.display()));
    write_file(path, key.to_text().as_bytes()).map_err(cannot)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r28_the_key_is_made_once_and_kept_private() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join("link.key");
        let made = load_or_create(&path).expect("made");
        let read = load_or_create(&path).expect("read");
        assert_eq!(made.public(), read.public());
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        mode(0o640).expect("changed");
        assert!(matches!(load_or_create(&path), Err(AgentError::KeyExposed(_))));
        mode(0o600).expect("changed");
        fs::write(&path, "AAAA").expect("written");
        assert!(matches!(load_or_create(&path), Err(AgentError::Damaged { .. })));
        assert_ne!(replace(&path).expect("made").public(), made.public());
    }
}
