//! Which master, and as whom: what the options and the environment say, before anything is asked of anybody.

use std::path::PathBuf;

use anyhow::Result;
use api::client::Address;
use api::fingerprint::Fingerprint;

use crate::cli::Global;
use crate::failure::Failure;

/// The master when nothing names one.
const DEFAULT_MASTER: &str = "http://127.0.0.1:8080";

/// The answer of this module.
#[derive(Debug)]
pub(crate) struct Target {
    /// The master.
    pub(crate) address: Address,
    /// The user that was asked for, when one was.
    pub(crate) user: Option<String>,
    /// A token to use whatever is kept: `MUSTER_TOKEN`.
    pub(crate) token: Option<Secret>,
    /// A token to use when none is kept: what Determined's tasks find in `DET_USER_TOKEN`.
    pub(crate) fallback_token: Option<Secret>,
    /// A password to use before asking for one: `DET_PASS`.
    pub(crate) password: Option<Secret>,
    /// The certificate that the master must show.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Authorities besides the system's, PEM.
    pub(crate) cert_file: Option<PathBuf>,
    /// Where tokens are kept; none without a home directory.
    pub(crate) config_dir: Option<PathBuf>,
}

/// Text that stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The master that option or environment name.
pub(crate) fn master(global: &Global, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    global.master.clone().or_else(|| {
        ["MUSTER_MASTER", "DET_MASTER", "DET_MASTER_ADDR"].iter().find_map(|name| environment(name))
    })
}

/// A variable of this process; an empty one counts as unset.
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Target {
    /// Reads options and this process's environment.
    pub(crate) fn new(global: &Global) -> Result<Self> {
        Self::from(global, process_environment)
    }

    fn from(global: &Global, environment: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let address = master(global, &environment).as_deref().unwrap_or(DEFAULT_MASTER).parse()?;
        let det_user = environment("DET_USER");
        let named = environment("MUSTER_USER").or_else(|| det_user.clone());
        let user = global.user.clone().or_else(|| named.clone());
        // `-u` asks for somebody: a token of somebody else must not answer.
        let token_fits = global.user.is_none() || global.user == named;
        let is_det_user = det_user.is_some() && user == det_user;
        let secret = |name: &str, fits: bool| environment(name).filter(|_| fits).map(Secret);
        let named =
            ["MUSTER_MASTER_CERT_FILE", "DET_MASTER_CERT_FILE"].iter().find_map(|name| environment(name));
        // Determined's clients check nothing then. Here that has no name.
        let cert_file = named.filter(|file| !file.eq_ignore_ascii_case("noverify")).map(PathBuf::from);
        Ok(Self {
            address,
            fingerprint: fingerprint(global, &environment)?,
            cert_file,
            token: secret("MUSTER_TOKEN", token_fits),
            fallback_token: secret("DET_USER_TOKEN", is_det_user),
            password: secret("DET_PASS", is_det_user),
            config_dir: config_dir(&environment),
            user,
        })
    }
}

fn fingerprint(
    global: &Global,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<Option<Fingerprint>> {
    const VARIABLE: &str = "MUSTER_MASTER_FINGERPRINT";
    if global.master_fingerprint.is_some() {
        return Ok(global.master_fingerprint);
    }
    let given = environment(VARIABLE).map(|text| text.parse::<Fingerprint>()).transpose();
    given.map_err(|e| Failure::Usage(format!("{VARIABLE}: {e}")).into())
}

fn config_dir(environment: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let under = |name: &str, rest: &str| environment(name).map(|dir| PathBuf::from(dir).join(rest));
    environment("MUSTER_CONFIG_DIR")
        .map(PathBuf::from)
        .or_else(|| under("XDG_CONFIG_HOME", "muster"))
        .or_else(|| under("HOME", ".config/muster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(user: Option<&str>, environment: &[(&str, &str)]) -> Target {
        let global = Global { user: user.map(str::to_owned), ..Global::default() };
        let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Target::from(&global, find).expect("valid")
    }

    #[test]
    fn the_environment_is_honoured_in_order() {
        let none = target(None, &[("HOME", "/home/a")]);
        assert_eq!(none.address.to_string(), "http://127.0.0.1:8080");
        assert_eq!(none.config_dir, Some(PathBuf::from("/home/a/.config/muster")));
        assert_eq!(none.user, None);
        let det = target(None, &[("DET_MASTER", "m:1"), ("DET_USER", "bob"), ("DET_USER_TOKEN", "t")]);
        assert_eq!(det.address.to_string(), "http://m:1");
        assert_eq!(det.user.as_deref(), Some("bob"));
        assert_eq!(det.fallback_token, Some(Secret("t".into())));
        let both = target(
            None,
            &[("DET_MASTER", "m:1"), ("MUSTER_MASTER", "n:2"), ("MUSTER_USER", "eve"), ("DET_USER", "bob")],
        );
        assert_eq!(both.address.to_string(), "http://n:2");
        assert_eq!(both.user.as_deref(), Some("eve"));
    }

    #[test]
    fn nobody_elses_token_answers_for_a_named_user() {
        let task = [("MUSTER_TOKEN", "t"), ("DET_USER", "bob"), ("DET_USER_TOKEN", "u"), ("DET_PASS", "p")];
        let other = target(Some("admin"), &task);
        assert_eq!((other.token, other.fallback_token, other.password), (None, None, None));
        let same = target(Some("bob"), &task);
        assert!(same.token.is_some() && same.fallback_token.is_some() && same.password.is_some());
    }
}
