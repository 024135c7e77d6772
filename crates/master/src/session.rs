//! Logging in and out, and knowing who a token speaks for (P6–P8, R15, R23–R27).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::authz::{Actor, EndSession, Permit, SeeSessions};
use domain::id::{SessionId, UserId};
use domain::session::{LIFETIME, Session};
use domain::user::{NAME_MAX_BYTES, Password, Status, User};
use quick_cache::sync::Cache;
use store::Store;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::config::BlankPasswords;
use crate::password::{Hasher, Presented};
use crate::secret;
use crate::system::{Clock, Entropy};
use crate::throttle::Throttle;
use crate::{Config, Error};

/// Sessions kept in memory; the database is asked for others.
const CACHED: usize = 100_000;

/// What is said of every token that isn't good.
pub const INVALID_CREDENTIALS: &str = "invalid credentials";

/// Whether a request came from the master's own machine: peer address, `Host` and no sign of a proxy, all three (R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It did.
    Local,
    /// It didn't, or that can't be told.
    Remote,
}

/// Where a login comes from.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// The machine itself or elsewhere.
    pub origin: Origin,
    /// The peer's address, when it is known.
    pub address: Option<IpAddr>,
}

/// Somebody with a good session.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the policy.
    pub actor: Actor,
    /// The account as it was when the session was looked up; changes to it empty the cache.
    pub user: Arc<User>,
    session: Option<Arc<Session>>,
}

/// What ended.
#[derive(Debug, Clone, Copy)]
enum Revoked {
    User(UserId),
    Session(SessionId),
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
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    cache: Cache<String, Caller>,
    /// Raised by every invalidation. A look-up that began before one doesn't fill the cache after it.
    epoch: std::sync::Mutex<u64>,
    revoked: broadcast::Sender<Revoked>,
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
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let (revoked, _) = broadcast::channel(256);
        let cache = Cache::new(CACHED);
        let epoch = std::sync::Mutex::new(0);
        let throttle = Throttle::new(store.clone(), Arc::clone(&clock));
        Self {
            inner: Arc::new(Inner { store, config, hasher, throttle, clock, entropy, cache, epoch, revoked }),
        }
    }

    /// Opens a session for who knows the password (P7).
    ///
    /// Unknown, wrong, pending and sign-on-only are told apart by nothing (R17); deactivated is told only to who knows
    /// the password.
    ///
    /// # Errors
    /// Why not.
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
            let (user, good) = self.check(username, password).await?;
            return self.admit(user.filter(|_| good)).await;
        }
        let attempt = inner.throttle.begin(username, visitor.address).await?;
        match self.check(username, password).await {
            Ok((user, true)) => {
                inner.throttle.succeeded(attempt).await?;
                self.admit(user).await
            }
            Ok((_, false)) => self.admit(None).await,
            Err(error) => {
                inner.throttle.abandoned(attempt).await?;
                Err(error)
            }
        }
    }

    /// The account of that name, and whether the password is its own. Takes the same time for unknown names (R17).
    async fn check(&self, username: &str, password: Presented) -> Result<(Option<User>, bool), Error> {
        let mut conn = self.inner.store.read().await?;
        let user = store::user::by_username(&mut conn, username).await?;
        drop(conn);
        let stored = user.as_ref().map(|user| user.password.clone());
        let good = self.inner.hasher.check(stored, password).await?;
        Ok((user, good))
    }

    /// Opens a session for an account whose password was right.
    async fn admit(&self, user: Option<User>) -> Result<LoggedIn, Error> {
        let user = user.filter(|user| user.status != Status::Pending);
        let user = user.ok_or(Error::Unauthenticated(INVALID_CREDENTIALS))?;
        if !user.is_active() {
            return Err(Error::Forbidden("user is not active".to_owned()));
        }
        self.open(user).await
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

    async fn open(&self, user: User) -> Result<LoggedIn, Error> {
        let inner = &*self.inner;
        let token = secret::token(inner.entropy.as_ref(), "mst");
        let now = inner.clock.now();
        let mut tx = inner.store.write().await?;
        // The account may have changed while its password was being checked (R25).
        let current = store::user::by_id(&mut tx, user.id).await?;
        let current = current.filter(|c| c.is_active() && c.password == user.password);
        let user = current.ok_or(Error::Unauthenticated(INVALID_CREDENTIALS))?;
        store::user::set_last_login(&mut tx, user.id, now).await?;
        let digest = secret::digest(&token);
        let session = store::session::insert(&mut tx, user.id, &digest, now, now.plus(LIFETIME)).await?;
        tx.commit().await?;
        let user = User { last_login_at: Some(now), ..user };
        Ok(LoggedIn { token, session, user })
    }

    /// Who a token speaks for. Every failed step is a refusal (R27).
    ///
    /// # Errors
    /// When it isn't good, or its account isn't active (P17).
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Error> {
        let inner = &*self.inner;
        let digest = secret::digest(token);
        let invalid = Error::Unauthenticated(INVALID_CREDENTIALS);
        let live = |session: &Session| session.is_live(inner.clock.now());
        if let Some(caller) = inner.cache.get(&digest) {
            let fresh = caller.session.as_ref().is_some_and(|session| live(session));
            return if fresh { Ok(caller) } else { Err(invalid) };
        }
        let epoch = self.epoch();
        let mut conn = inner.store.read().await?;
        let found = store::session::by_token_hash(&mut conn, &digest).await?;
        drop(conn);
        let (session, user) = found.filter(|(session, _)| live(session)).ok_or(invalid)?;
        if !user.is_active() {
            return Err(Error::Forbidden("user does not have permission".to_owned()));
        }
        let caller = Caller::new(user, Some(session));
        let guard = inner.epoch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if *guard == epoch {
            inner.cache.insert(digest, caller.clone());
        }
        drop(guard);
        Ok(caller)
    }

    /// The default user, for who may come in as that account without a login (P2): where blank passwords are good, as
    /// long as the account is active and its password blank.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn default_caller(
        &self,
        default_user: UserId,
        origin: Origin,
    ) -> Result<Option<Caller>, Error> {
        if self.allow_blank(origin).is_err() {
            return Ok(None);
        }
        let mut conn = self.inner.store.read().await?;
        let user = store::user::by_id(&mut conn, default_user).await?;
        let user = user.filter(|user| user.is_active() && user.password == Password::Blank);
        Ok(user.map(|user| Caller::new(user, None)))
    }

    /// Ends the caller's session (P8).
    ///
    /// # Errors
    /// When the database can't be reached; the session then goes on.
    pub async fn log_out(&self, caller: &Caller) -> Result<(), Error> {
        let Some(session) = &caller.session else {
            return Ok(());
        };
        let mut tx = self.inner.store.write().await?;
        store::session::delete(&mut tx, session.id).await?;
        tx.commit().await?;
        self.revoke(Revoked::Session(session.id));
        Ok(())
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

    /// One session, for the policy to decide on.
    ///
    /// # Errors
    /// When there is none.
    pub async fn find(&self, id: SessionId) -> Result<Session, Error> {
        let mut conn = self.inner.store.read().await?;
        let found = store::session::by_id(&mut conn, id).await?;
        found.ok_or_else(|| Error::NotFound(Self::hidden(id)))
    }

    /// What is said of a session that isn't there for the caller.
    #[must_use]
    pub fn hidden(id: SessionId) -> String {
        format!("session '{id}' not found")
    }

    /// Ends a session, wherever its token is (R22).
    ///
    /// # Errors
    /// When the database can't be reached; the session then goes on.
    pub async fn end(&self, permit: Permit<EndSession>) -> Result<(), Error> {
        let id = permit.target().id;
        let mut tx = self.inner.store.write().await?;
        store::session::delete(&mut tx, id).await?;
        tx.commit().await?;
        self.revoke(Revoked::Session(id));
        Ok(())
    }

    /// Must be called after an account or its sessions changed in the database, before the change is answered (R25).
    pub(crate) fn user_changed(&self, user: UserId) {
        self.forget(Revoked::User(user));
    }

    /// As [`Self::user_changed`], and its sessions are over: open streams close (P6).
    pub(crate) fn user_ended(&self, user: UserId) {
        self.revoke(Revoked::User(user));
    }

    fn revoke(&self, what: Revoked) {
        self.forget(what);
        // Nobody listening is fine.
        let _ = self.inner.revoked.send(what);
    }

    fn forget(&self, what: Revoked) {
        let mut epoch = self.inner.epoch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *epoch += 1;
        self.inner.cache.retain(|_, caller| !caller.is_hit_by(what));
    }

    fn epoch(&self) -> u64 {
        *self.inner.epoch.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Resolves when `caller` may no longer see anything: open streams end then (P6, R22).
    pub fn revocation(&self, caller: &Caller) -> impl Future<Output = ()> + Send + use<> {
        let mut revoked = self.inner.revoked.subscribe();
        let sessions = self.clone();
        let caller = caller.clone();
        async move {
            // It may have ended between the request's own look-up and the subscription.
            if !sessions.is_still_good(&caller).await {
                return;
            }
            loop {
                // Looks again every minute, for the end of the session's thirty days and for whatever was missed.
                let news = tokio::time::timeout(Duration::from_secs(60), revoked.recv()).await;
                match news {
                    Ok(Ok(what)) if caller.is_hit_by(what) => return,
                    Ok(Ok(_)) => {}
                    Ok(Err(broadcast::error::RecvError::Closed)) => return,
                    Ok(Err(broadcast::error::RecvError::Lagged(_))) | Err(_) => {
                        if !sessions.is_still_good(&caller).await {
                            return;
                        }
                    }
                }
            }
        }
    }

    async fn is_still_good(&self, caller: &Caller) -> bool {
        let now = self.inner.clock.now();
        if caller.session.as_ref().is_some_and(|session| !session.is_live(now)) {
            return false;
        }
        let Ok(mut conn) = self.inner.store.read().await else {
            return true;
        };
        let user = store::user::by_id(&mut conn, caller.actor.user).await;
        let active = user.map(|user| user.is_some_and(|user| user.is_active()));
        let open = match &caller.session {
            Some(session) => store::session::exists(&mut conn, session.id).await,
            None => Ok(true),
        };
        // A database that can't be reached ends nothing.
        active.unwrap_or(true) && open.unwrap_or(true)
    }

    /// Removes sessions that are over from the database, once an hour.
    pub(crate) async fn sweep(self, stop: CancellationToken) {
        let mut hourly = tokio::time::interval(Duration::from_secs(3600));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hourly.tick() => {}
            }
            let swept = async {
                let mut tx = self.inner.store.write().await?;
                store::session::delete_expired(&mut tx, self.inner.clock.now()).await?;
                tx.commit().await?;
                self.inner.throttle.sweep().await
            };
            if let Err(error) = swept.await {
                tracing::warn!(%error, "what is over could not be removed");
            }
        }
    }
}

impl Caller {
    fn new(user: User, session: Option<Session>) -> Self {
        let actor = Actor {
            user: user.id,
            username: user.username.clone(),
            admin: user.admin,
            session: session.as_ref().map(|session| session.id),
        };
        Self { actor, user: Arc::new(user), session: session.map(Arc::new) }
    }

    /// Whether this caller came without a session, as the default user.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.session.is_none()
    }

    fn is_hit_by(&self, what: Revoked) -> bool {
        match what {
            Revoked::User(user) => self.actor.user == user,
            Revoked::Session(id) => self.actor.session == Some(id),
        }
    }
}
