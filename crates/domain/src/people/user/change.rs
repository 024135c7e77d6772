//! What is to be made or changed of an account, as it was asked for: nothing of it is checked yet, for who may not do it is
//! told just that.

use super::User;
use crate::identity::IdentityParts;
use crate::password::Sent;

/// An account that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewUser {
    /// Its name.
    pub username: String,
    /// A name for people.
    pub display_name: String,
    /// Administrator.
    pub admin: bool,
    /// May come in.
    pub active: bool,
    /// Managed by a sign-on provider.
    pub remote: bool,
    /// Belongs to no person.
    pub service: bool,
    /// The Unix identity of its tasks.
    pub identity: Option<IdentityParts>,
}

impl NewUser {
    /// Nobody could log in to it: less than that there is nothing to be made.
    #[must_use]
    pub fn without_a_way_in() -> Self {
        Self { service: true, ..Self::default() }
    }

    /// Somebody can log in to it, as soon as it is there.
    #[must_use]
    pub fn has_a_way_in(&self) -> bool {
        self.admin || !(self.remote || self.service)
    }
}

/// What is to change of an account; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// The name.
    pub username: Option<String>,
    /// The name for people.
    pub display_name: Option<String>,
    /// Where mail reaches its person; empty for nowhere.
    pub email: Option<String>,
    /// The password.
    pub password: Option<Sent>,
    /// The role.
    pub admin: Option<bool>,
    /// Managed by sign-on or not.
    pub remote: Option<bool>,
    /// May come in or not.
    pub active: Option<bool>,
    /// The Unix identity.
    pub identity: Option<IdentityParts>,
    /// It has no Unix identity any more (ME4).
    pub unlinks: bool,
    /// With `active: false`: all that it has running and waiting is ended, too.
    pub kill_tasks: bool,
}

impl UserPatch {
    /// Another password, and nothing else.
    #[must_use]
    pub fn password(sent: Sent) -> Self {
        Self { password: Some(sent), ..Self::default() }
    }

    /// Which parts of `user` this would change. Whether they can be what they are to be is asked afterwards (B21).
    #[must_use]
    pub fn parts(&self, user: &User) -> Parts {
        let different = |new: &Option<String>, old: &str| new.as_deref().is_some_and(|new| new.trim() != old);
        Parts {
            admin: self.admin.is_some(),
            remote: self.remote.is_some(),
            active: self.active.is_some(),
            identity: self.identity.is_some() || self.unlinks,
            username: different(&self.username, &user.username),
            display_name: different(&self.display_name, &user.display_name),
            password: self.password.is_some(),
            email: different(&self.email, user.email.as_deref().unwrap_or("")),
        }
    }
}

/// Parts of an account; each is allowed or refused on its own (R33).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// The role.
    pub admin: bool,
    /// Managed by sign-on or not.
    pub remote: bool,
    /// Active or not.
    pub active: bool,
    /// The Unix identity.
    pub identity: bool,
    /// The name.
    pub username: bool,
    /// The display name.
    pub display_name: bool,
    /// The password.
    pub password: bool,
    /// Where mail reaches its person.
    pub email: bool,
}

impl Parts {
    /// The password, and nothing else.
    pub const PASSWORD: Self = Self {
        admin: false,
        remote: false,
        active: false,
        identity: false,
        username: false,
        display_name: false,
        password: true,
        email: false,
    };
}
