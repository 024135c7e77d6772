//! Logging in and out (P7, P8, R15, R24). Knowing who a token speaks for is in `lookup`, what happens when it ends in
//! `ending`.

mod ending;
mod lookup;
mod own_password;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::audit::{AS_IT_WAS, By, Entry, Who};
use domain::authz::{Actor, Asker, EndSession, Permit, SeeSessions, Via};
use domain::id::{SessionId, TokenId, UserId};
use domain::session::{LIFETIME, Session};
use domain::time::Timestamp;
use domain::user::{NAME_MAX_BYTES, Status, User};
pub use own_password::WRONG_PASSWORD;
use quick_cache::sync::Cache;
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Audit};
use crate::bootstrap::InitialPassword;
use crate::config::BlankPasswords;
use crate::password::{Hasher, Lane, Presented};
use crate::secret;
use crate::system::{Clock, Entropy};
use crate::throttle::{Attempt, Throttle, origin};
use crate::{Config, Error};

/// Sessions kept in memory; the database is asked for others.
const CACHED: usize = 100_000;

/// What the secret of an access token begins with; a session's begins with `mst`.
pub const ACCESS_TOKEN: &str = "mat_";

/// What is said to a deactivated account, once it has shown the right password.
pub const NOT_ACTIVE: &str = "user is not active";

/// What is said of every token that isn't good.
pub const INVALID_CREDENTIALS: &str = "invalid credentials";

/// Whether a request came from a person's own program on the master's machine: the kernel says so of the process at the
/// other end, and neither `Host` nor a forwarding header speaks against it (R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It did.
    Local,
    /// It didn't, or that can't be told.
    Remote,
}

/// What tells a program that logs in from others behind its address (A8): a secret that it was given at its last login.
/// It opens nothing by itself: it is known wherever it is, and however many others guess where it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Device {
    /// It keeps nothing.
    #[default]
    None,
    /// It would keep one.
    New,
    /// It showed the one with this digest.
    Shown(String),
}

impl Device {
    /// Of a program that keeps what it is given, and shows what it has.
    #[must_use]
    pub fn keeping(shown: Option<&str>) -> Self {
        shown.map_or(Self::New, |token| Self::Shown(secret::digest(token)))
    }

    pub(crate) fn shown(&self) -> Option<&str> {
        match self {
            Self::Shown(digest) => Some(digest),
            Self::None | Self::New => None,
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Device")
    }
}

/// Where a login comes from.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// The machine itself or elsewhere.
    pub origin: Origin,
    /// The peer's address, when it is known.
    pub address: Option<IpAddr>,
    /// The Unix user whose program asks, when that runs on this machine and speaks for nobody else.
    pub uid: Option<u32>,
    /// What it keeps between logins.
    pub device: Device,
}

/// Somebody with a good session.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the policy.
    pub actor: Actor,
    /// The account as it was when the session was looked up; changes to it empty the cache.
    pub user: Arc<User>,
    /// When what proved it ends; `None` for the default user.
    expires_at: Option<Timestamp>,
    /// The generation of rights that this was looked up in, or an earlier one.
    as_of: u64,
}

/// What ended.
#[derive(Debug, Clone, Copy)]
enum Revoked {
    User(UserId),
    Session(SessionId),
    Token(TokenId),
}

/// A fresh session.
#[derive(Debug)]
pub struct LoggedIn {
    /// The bearer token; nobody else knows it.
    pub token: String,
    /// The session.
    pub session: Session,
    /// The account.
    pub user: User,
    /// What the program is to show at its next login, if it keeps such a thing and what it has isn't good.
    pub device: Option<String>,
}

/// Login sessions.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    config: Arc<Config>,
    hasher: Hasher,
    throttle: Throttle,
    audit: Audit,
    initial_password: InitialPassword,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    cache: Cache<String, Caller>,
    /// Raised by every invalidation. A look-up that began before one doesn't fill the cache after it.
    epoch: std::sync::Mutex<u64>,
    /// Access tokens that were used since this was last written down.
    used: std::sync::Mutex<HashMap<TokenId, Timestamp>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    pub(crate) fn new(
        store: Store,
        config: Arc<Config>,
        hasher: Hasher,
        audit: Audit,
        initial_password: InitialPassword,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let cache = Cache::new(CACHED);
        let epoch = std::sync::Mutex::new(0);
        let throttle = Throttle::new(store.clone(), Arc::clone(&clock), Arc::clone(&entropy));
        let used = std::sync::Mutex::default();
        Self {
            inner: Arc::new(Inner {
                store,
                config,
                hasher,
                throttle,
                audit,
                initial_password,
                clock,
                entropy,
                cache,
                epoch,
                used,
            }),
        }
    }

    /// Opens a session for who knows the password (P7).
    ///
    /// Unknown, wrong, pending and sign-on-only are told apart by nothing (R17); deactivated is told only to who knows
    /// the password.
    ///
    /// # Errors
    /// Whatever keeps them out, in the words that they may be told.
    pub async fn log_in(
        &self,
        username: &str,
        password: Presented,
        visitor: Visitor,
    ) -> Result<LoggedIn, Error> {
        let inner = &*self.inner;
        if username.is_empty() {
            return Err(Error::Invalid("missing argument: username".to_owned()));
        }
        if username.len() > NAME_MAX_BYTES {
            return Err(Error::Unauthenticated(INVALID_CREDENTIALS));
        }
        if password.is_blank() {
            // One guess among all passwords, the same each time: it isn't counted.
            self.allow_blank(visitor.origin)?;
            let (user, good) = self.check(username, password, Lane::Stranger(origin(&visitor))).await?;
            return self.admit(user, good, visitor, None).await;
        }
        let attempt = inner.throttle.begin(username, &password, &visitor, None).await?;
        let (user, good) = self.check(username, password, attempt.lane()).await?;
        // Who waits to be let in fails like everybody else, in the same time (R17).
        if !good || user.as_ref().is_none_or(is_pending) {
            inner.throttle.failed(attempt).await?;
            return self.admit(user, good, visitor, None).await;
        }
        self.admit(user, good, visitor, Some(attempt)).await
    }

    /// The account of that name, and whether the password is its own. Takes the same time for unknown names (R17).
    async fn check(
        &self,
        username: &str,
        password: Presented,
        lane: Lane,
    ) -> Result<(Option<User>, bool), Error> {
        let mut conn = self.inner.store.read().await?;
        let user = store::user::by_username(&mut conn, username).await?;
        drop(conn);
        let stored = user.as_ref().map(|user| user.password.clone());
        let good = self.inner.hasher.check(stored, password, lane).await?;
        Ok((user, good))
    }

    /// Opens a session for an account whose password was right.
    async fn admit(
        &self,
        user: Option<User>,
        good: bool,
        visitor: Visitor,
        attempt: Option<Attempt>,
    ) -> Result<LoggedIn, Error> {
        // What was typed in place of a name may be a password: only names that are there are noted.
        let target = user.as_ref().map_or_else(|| Who::named("user", &"", ""), audit::account);
        let refused = |reason: &str| {
            let by = By::Anonymous { address: visitor.address };
            self.inner.audit.refused(&by, "session.open", target, reason.to_owned());
        };
        let Some(user) = user else {
            refused("there is no such account");
            return Err(Error::Unauthenticated(INVALID_CREDENTIALS));
        };
        if !good {
            refused("wrong password");
            return Err(Error::Unauthenticated(INVALID_CREDENTIALS));
        }
        if is_pending(&user) {
            refused("the account waits to be accepted");
            return Err(Error::Unauthenticated(INVALID_CREDENTIALS));
        }
        if !user.is_active() {
            refused("the account is not active");
            return Err(Error::Forbidden(NOT_ACTIVE.to_owned()));
        }
        self.open(user, visitor.address, attempt).await
    }

    /// Blank passwords are refused before any look-up, so that the answer says nothing about accounts.
    fn allow_blank(&self, origin: Origin) -> Result<(), Error> {
        match (self.inner.config.security.blank_passwords, origin) {
            (BlankPasswords::Allow, _) | (BlankPasswords::Loopback, Origin::Local) => Ok(()),
            (BlankPasswords::Loopback, Origin::Remote) => Err(Error::Forbidden(
                "a blank password is accepted on the master's own machine only: set a password there with `muster user change-password`, or set security.blank_passwords: allow in master.yaml".to_owned(),
            )),
            (BlankPasswords::Deny, _) => Err(Error::Forbidden(
                "blank passwords are not accepted (security.blank_passwords: deny): ask an administrator for a password".to_owned(),
            )),
        }
    }

    async fn open(
        &self,
        user: User,
        address: Option<IpAddr>,
        attempt: Option<Attempt>,
    ) -> Result<LoggedIn, Error> {
        let inner = &*self.inner;
        let token = secret::token(inner.entropy.as_ref(), "mst");
        let now = inner.clock.now();
        let mut tx = inner.store.write_urgent().await?;
        // The account may have changed while its password was being checked (R25).
        let current = store::user::by_id(&mut tx, user.id).await?;
        let current = current.filter(|c| c.is_active() && c.password == user.password);
        let user = current.ok_or(Error::Unauthenticated(INVALID_CREDENTIALS))?;
        store::user::set_last_login(&mut tx, user.id, now).await?;
        let digest = secret::digest(&token);
        let session = store::session::insert(&mut tx, user.id, &digest, now, now.plus(LIFETIME)).await?;
        let keep = inner.config.limits.sessions;
        let ended = store::session::delete_oldest(&mut tx, user.id, keep).await?;
        let device = match &attempt {
            Some(attempt) => inner.throttle.succeeded(&mut tx, attempt, inner.entropy.as_ref()).await?,
            None => None,
        };
        let (id, username, via) = (user.id, user.username.clone(), Via::Session(session.id));
        let (admin, as_of) = (user.admin, AS_IT_WAS);
        let by = By::Account { user: id, username, via, admin, address, as_of };
        tx.commit(&Entry::done(&by, "session.open", audit::account(&user)), now).await?;
        ended.into_iter().for_each(|session| self.revoke(Revoked::Session(session)));
        inner.initial_password.over(user.id).await;
        let user = User { last_login_at: Some(now), ..user };
        Ok(LoggedIn { token, session, user, device })
    }

    /// Ends the caller's session (P8).
    ///
    /// # Errors
    /// When the database can't be reached; the session then goes on.
    pub async fn log_out(&self, caller: &Caller) -> Result<(), Error> {
        // An access token is revoked, not logged out (contract "identity", section 4).
        let Some(session) = caller.actor.session() else {
            return Ok(());
        };
        let mut tx = self.inner.store.write_urgent().await?;
        store::session::delete(&mut tx, session).await?;
        let entry = Entry::done(&By::from(&caller.actor), "session.close", audit::account(&caller.user));
        let committed = tx.commit(&entry, self.inner.clock.now()).await;
        self.revoke(Revoked::Session(session));
        Ok(committed?)
    }

    /// An account's sessions, newest first; at most `limit`.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn list(&self, permit: Permit<SeeSessions>, limit: i64) -> Result<Vec<Session>, Error> {
        let mut conn = self.inner.store.read().await?;
        let now = self.inner.clock.now();
        Ok(store::session::of_user(&mut conn, permit.target().id, now, limit).await?)
    }

    /// For how long at most what proved a caller is still good.
    #[must_use]
    pub fn good_for(&self, caller: &Caller) -> Duration {
        let now = self.inner.clock.now();
        caller.expires_at.map_or(Duration::MAX, |end| end.since(now))
    }

    /// Ends a session, wherever its token is (R22).
    ///
    /// # Errors
    /// When the database can't be reached; the session then goes on.
    pub async fn end(&self, permit: Permit<EndSession>) -> Result<(), Error> {
        let id = permit.target().id;
        let mut tx = self.inner.store.write_urgent().await?;
        store::session::delete(&mut tx, id).await?;
        let entry = Entry::done(permit.by(), "session.revoke", Who::named("session", &id, ""));
        let facts = serde_json::json!({ "user": permit.target().user_id });
        let committed = tx.commit(&entry.removed(facts), self.inner.clock.now()).await;
        self.revoke(Revoked::Session(id));
        Ok(committed?)
    }

    /// Removes sessions that are over from the database, once an hour.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        let mut hourly = tokio::time::interval(Duration::from_secs(3600));
        let mut soon = tokio::time::interval(Duration::from_secs(20));
        loop {
            let written = tokio::select! {
                () = stop.cancelled() => {
                    let _ = self.write_uses().await;
                    return;
                }
                _ = soon.tick() => Some(self.write_uses().await),
                _ = hourly.tick() => None,
            };
            match written {
                None => {}
                Some(Ok(())) => continue,
                Some(Err(error)) => {
                    tracing::warn!(%error, "when tokens were last used could not be written down");
                    continue;
                }
            }
            let swept = async {
                let mut tx = self.inner.store.write_urgent().await?;
                store::session::delete_expired(&mut tx, self.inner.clock.now()).await?;
                tx.commit_unaudited("they had ended by themselves").await?;
                self.inner.throttle.sweep().await
            };
            if let Err(error) = swept.await {
                tracing::warn!(%error, "what is over could not be removed");
            }
        }
    }
}

fn is_pending(user: &User) -> bool {
    user.status == Status::Pending
}

impl<'a> From<&'a Caller> for Asker<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self::Account(&caller.actor)
    }
}

impl Caller {
    fn new(user: User, via: Via, expires_at: Option<Timestamp>) -> Self {
        let (username, admin) = (user.username.clone(), user.admin);
        let actor = Actor { user: user.id, username, admin, via, address: None, as_of: 0 };
        Self { actor, user: Arc::new(user), expires_at, as_of: 0 }
    }

    /// What was looked up after this generation of rights was read.
    fn looked_up(self, as_of: u64) -> Self {
        Self { as_of, actor: Actor { as_of, ..self.actor }, ..self }
    }

    /// The generation of rights that this was looked up in, or an earlier one.
    #[must_use]
    pub fn as_of(&self) -> u64 {
        self.as_of
    }

    /// The same, for a request from that peer.
    #[must_use]
    pub fn from_address(mut self, address: Option<IpAddr>) -> Self {
        self.actor.address = address;
        self
    }

    /// Whether this caller came without a session, as the default user.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.actor.via == Via::DefaultUser
    }

    fn is_hit_by(&self, what: Revoked) -> bool {
        match what {
            Revoked::User(user) => self.actor.user == user,
            Revoked::Session(id) => self.actor.session() == Some(id),
            Revoked::Token(id) => self.actor.token() == Some(id),
        }
    }
}
