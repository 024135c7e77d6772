//! `bootstrap:` the accounts of a new installation (P1, X2, X3).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The accounts of a new installation. Changing this later changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bootstrap {
    /// The first administrator.
    pub admin: FirstAdmin,
    /// Name of the account that needs no login (P1).
    pub default_user: String,
}

/// The first administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FirstAdmin {
    /// Account name.
    pub username: String,
    /// Where mail reaches them.
    pub email: Option<String>,
    /// Their first password.
    pub password: FirstPassword,
}

/// The first administrator's first password. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum FirstPassword {
    /// None is needed, where the blank-password rule allows it (R15).
    #[default]
    Blank,
    /// One is made up, and put into a file of the data directory (X3).
    Random,
    /// This password.
    Given(String),
}

impl std::fmt::Debug for FirstPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Blank => "Blank",
            Self::Random => "Random",
            Self::Given(_) => "Given(…)",
        })
    }
}

/// Absent is blank, null is a random one.
impl<'de> Deserialize<'de> for FirstPassword {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Option::<String>::deserialize(deserializer)? {
            None => Self::Random,
            Some(text) if text.is_empty() => Self::Blank,
            Some(text) => Self::Given(text),
        })
    }
}

/// For administrators' eyes.
impl Serialize for FirstPassword {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Blank => serializer.serialize_str(""),
            Self::Random => serializer.serialize_none(),
            Self::Given(_) => serializer.serialize_str("********"),
        }
    }
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { admin: FirstAdmin::default(), default_user: "determined".to_owned() }
    }
}

impl Default for FirstAdmin {
    fn default() -> Self {
        Self { username: "admin".to_owned(), email: None, password: FirstPassword::default() }
    }
}

impl Bootstrap {
    /// What is wrong: the key, and why.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { admin, default_user } = self;
        for (key, name) in [("admin.username", &admin.username), ("default_user", default_user)] {
            let checked = domain::user::username(name).map_err(|e| format!("{key}: {e}"))?;
            if checked != *name {
                return Err(format!("{key}: the name begins or ends with a blank"));
            }
            if name.contains(' ') {
                return Err(format!(
                    "{key}: '{name}' has a blank, and has to be typed in commands: leave it out"
                ));
            }
        }
        if default_user.eq_ignore_ascii_case("admin") && *default_user != admin.username {
            return Err("default_user: 'admin' is a name for an administrator".to_owned());
        }
        if let Some(email) = &admin.email {
            domain::user::email(email).map_err(|e| format!("admin.email: {e}"))?;
        }
        match &admin.password {
            FirstPassword::Given(text) if text.len() > domain::password::MAX_BYTES => {
                Err(format!("admin.password: {}", domain::password::WeakPassword::TooLong))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parsed(text: &str) -> Bootstrap {
        Config::parse(text, "master.yaml").expect("valid").bootstrap
    }

    #[test]
    fn x03_an_absent_password_is_blank_and_null_a_random_one() {
        let password = |text: &str| parsed(&format!("bootstrap: {{admin: {{{text}}}}}\n")).admin.password;
        assert_eq!(password("username: root"), FirstPassword::Blank);
        assert_eq!(password("password: ''"), FirstPassword::Blank);
        assert_eq!(password("password: null"), FirstPassword::Random);
        assert_eq!(password("password: ~"), FirstPassword::Random);
        assert_eq!(password("password: rootpassword"), FirstPassword::Given("rootpassword".to_owned()));
    }

    #[test]
    fn x02_what_can_be_no_account_is_refused() {
        for (text, reason) in [
            ("{admin: {username: a/b}}", "bootstrap.admin.username"),
            ("{admin: {email: nowhere}}", "bootstrap.admin.email"),
            ("{default_user: x}", "bootstrap.default_user"),
            // ME9
            ("{admin: {username: a b}}", "bootstrap.admin.username: 'a b' has a blank"),
            ("{admin: {username: root}, default_user: admin}", "bootstrap.default_user"),
        ] {
            let refused = Config::parse(&format!("bootstrap: {text}\n"), "master.yaml");
            let said = refused.expect_err(text).to_string();
            assert!(said.contains(reason), "{said}");
        }
    }
}
