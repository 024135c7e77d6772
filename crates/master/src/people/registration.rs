//! People who ask to be let in, and who decides (X5, X11, R16). The rules for names and numbers are in
//! `domain::registration`.

mod decide;
mod invite;

use std::sync::Arc;

use domain::audit::{By, Entry, Who};
use domain::authz::{Permit, SeeRegistrations};
use domain::id::UserId;
use domain::registration::{
    Invitation, OVERALL, PER_ADDRESS, Registration, State, WAITING_MAX, WINDOW, username,
};
use domain::text::claims_an_office;
use domain::throttle::{Origin, Scope};
use domain::time::Timestamp;
use domain::user::{InvalidName, Status, User, display_name, email};
use store::login_failure as failures;
use store::{Begin, Conn, Store, Tx};

pub(crate) use decide::accepted;

use crate::audit::{self, Audit};
use crate::config::{Config, Registration as Mode};
use crate::mail::{Letter, Mails};
use crate::password::{Hasher, Lane, Presented};
use crate::session::{Sessions, Visitor};
use crate::system::{Clock, Entropy};
use crate::{Error, secret};

/// Hexadecimal digits of a password's client-side transform.
const TRANSFORMED: usize = 128;

/// People who ask to be let in.
#[derive(Clone)]
pub struct Registrations {
    parts: Arc<Parts>,
}

/// What the service is made of.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) config: Arc<Config>,
    pub(crate) hasher: Hasher,
    pub(crate) audit: Audit,
    pub(crate) sessions: Sessions,
    pub(crate) mails: Mails,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Registrations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registrations")
    }
}

/// What somebody asks for, as they sent it.
#[derive(Clone, Default)]
pub struct Wish {
    /// The name of the account.
    pub username: String,
    /// Where mail reaches them.
    pub email: String,
    /// The password, in plain text or as its client-side transform.
    pub password: String,
    /// It is the transform.
    pub is_hashed: bool,
    /// What people call them; may be empty.
    pub display_name: String,
    /// The code of an invitation.
    pub invitation: Option<String>,
}

impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wish").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A wish whose shape is right.
struct Checked {
    username: String,
    email: String,
    display_name: String,
    /// Digest of the invitation's code.
    invitation: Option<String>,
    /// From where.
    origin: Origin,
}

fn invalid(error: &impl std::fmt::Display) -> Error {
    Error::Invalid(error.to_string())
}

impl Registrations {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Who may register.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.parts.config.registration
    }

    /// Makes an account for somebody who asks: active with a good invitation, else waiting for an administrator.
    ///
    /// # Errors
    /// When registration is closed, the wish can't be granted, or too many ask.
    pub async fn register(&self, wish: Wish, visitor: Visitor) -> Result<User, Error> {
        let parts = &*self.parts;
        let by = By::Anonymous { address: visitor.address };
        let refused = |error: Error| {
            if let Error::Forbidden(reason) = &error {
                // What was typed in place of a name may be a password.
                parts.audit.refused(&by, "user.register", Who::named("user", &"", ""), reason.clone());
            }
            error
        };
        if self.mode() == Mode::Closed {
            let text = "registration is closed: ask an administrator for an account";
            return Err(refused(Error::Forbidden(text.to_owned())));
        }
        let (wish, password) = check(wish, visitor)?;
        // Asked twice: a password costs much to hash, so first it is seen whether it is worth it.
        self.look(&wish).await.map_err(refused)?;
        let lane = Lane::Stranger(wish.origin.clone());
        let password = parts.hasher.store(password, lane, parts.entropy.as_ref()).await?;
        let mut tx = parts.store.write().await?;
        let invitation = self.judge(&mut tx, &wish).await.map_err(refused)?;
        let now = parts.clock.now();
        let user = User {
            id: UserId(0),
            username: wish.username.clone(),
            display_name: wish.display_name.clone(),
            admin: false,
            status: if invitation.is_some() { Status::Active } else { Status::Pending },
            remote: false,
            password,
            identity: None,
            email: Some(wish.email.clone()),
            service: false,
            modified_at: now,
            last_login_at: None,
            deleted_at: None,
        };
        let user = store::user::insert(&mut tx, &user, now).await?;
        self.note(&mut tx, &user, &wish, invitation.as_ref(), now).await?;
        let entry = Entry::done(&by, "user.register", audit::account(&user));
        tx.commit(&entry.made(audit::account_facts(&user)), now).await?;
        parts.mails.wake();
        tracing::info!(user = user.username, waits = !user.is_active(), "somebody registered");
        Ok(user)
    }

    /// Judges a wish for the first time. Who tries out which names are taken has to wait longer each time (A14).
    async fn look(&self, wish: &Checked) -> Result<(), Error> {
        let parts = &*self.parts;
        let now = parts.clock.now();
        let mut conn = parts.store.read().await?;
        let failed = failures::get(&mut conn, Scope::Registration, wish.origin.narrowest()).await?;
        if let Some(wait) = failed.and_then(|failed| failed.wait(Scope::Registration, now)) {
            return Err(Error::TooMany { what: "too many registrations", seconds: wait.as_secs() + 1 });
        }
        let judged = self.judge(&mut conn, wish).await;
        drop(conn);
        if matches!(judged, Err(Error::Conflict(_))) {
            let mut tx = parts.store.write().await?;
            failures::add(&mut tx, Scope::Registration, wish.origin.narrowest(), now).await?;
            tx.commit_unaudited("the refusal itself is noted").await?;
        }
        judged.map(drop)
    }

    /// Whether the wish can be granted now, and the invitation that lets it in.
    async fn judge(&self, conn: &mut Conn, wish: &Checked) -> Result<Option<Invitation>, Error> {
        let now = self.parts.clock.now();
        let invitation = match &wish.invitation {
            None if self.mode() == Mode::Invite => {
                let text = "one has to be invited to register: ask an administrator for an invitation (`muster user invite`), and give its code with \
                            --invitation";
                return Err(Error::Forbidden(text.to_owned()));
            }
            None => None,
            Some(digest) => {
                let found = store::invitation::by_token_hash(conn, digest).await?;
                let mut good = found.filter(|invitation| invitation.admits(&wish.email, now));
                let by = good.as_ref().and_then(|invitation| invitation.created_by);
                if !store::invitation::counts(conn, by).await? {
                    good = None;
                }
                let text =
                    "the invitation is not valid, was used, has expired, or is for another e-mail address";
                Some(good.ok_or_else(|| Error::Forbidden(text.to_owned()))?)
            }
        };
        if invitation.is_none() {
            within_limits(conn, wish.origin.narrowest(), now).await?;
        }
        let name = &wish.username;
        if invitation.is_some() && self.parts.config.quotas.names_account(name) {
            return Err(Error::Forbidden(format!(
                "the name {name} has a quota or a share in the master's configuration: ask an administrator for an account of \
                 that name, or choose another"
            )));
        }
        // Names of accounts that were deleted count as well (R35).
        for name in [&wish.username, &wish.display_name] {
            if !name.is_empty() && store::user::name_in_use_by_other(conn, name, UserId(0)).await? {
                return Err(Error::Conflict("this name is taken: choose another".to_owned()));
            }
        }
        // Whether somebody has an account is told to nobody who asks without an invitation (A14): an administrator sees
        // it when the account is to be let in.
        if invitation.is_some() && store::user::email_in_use_by_other(conn, &wish.email, UserId(0)).await? {
            return Err(Error::Conflict("another account has this e-mail address".to_owned()));
        }
        Ok(invitation)
    }

    /// Writes down who asked, uses the invitation up, or tells the administrators.
    async fn note(
        &self,
        tx: &mut Tx,
        user: &User,
        wish: &Checked,
        invitation: Option<&Invitation>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let mails = &self.parts.mails;
        let registration = Registration {
            id: 0,
            username: user.username.clone(),
            email: wish.email.clone(),
            user: user.id,
            state: if invitation.is_some() { State::Accepted } else { State::Pending },
            address: wish.origin.narrowest().to_owned(),
            created_at: now,
            decided_at: invitation.map(|_| now),
            decided_by: invitation.and_then(|invitation| invitation.created_by),
        };
        let registration = store::registration::insert(tx, &registration).await?;
        if let Some(invitation) = invitation {
            store::invitation::set_used(tx, invitation.id, user.id, now).await?;
            return Ok(());
        }
        let letter = Letter::somebody_asks(mails.installation(), &registration);
        let admins = store::user::admins(tx).await?;
        let told: Vec<&String> = admins.iter().filter_map(|admin| admin.email.as_ref()).collect();
        if told.is_empty() && self.parts.config.smtp.is_some() {
            tracing::warn!(
                "nobody is mailed that somebody waits for an account: no administrator has an address (muster user edit NAME \
                 --email ADDRESS)"
            );
        }
        for email in told {
            mails.put(tx, email, &letter, now).await?;
        }
        Ok(())
    }

    /// A page of the registrations in one state or in all, newest first.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn list<P>(
        &self,
        _permit: &Permit<SeeRegistrations>,
        state: Option<State>,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<Registration>, P), Error> {
        let mut conn = self.parts.store.read().await?;
        let (page, offset, limit) = page(store::registration::count(&mut conn, state).await?)?;
        let registrations = store::registration::list(&mut conn, state, Begin::At(offset), limit).await?;
        Ok((registrations, page))
    }
}

/// Checks all that has to do with the wish alone.
fn check(wish: Wish, visitor: Visitor) -> Result<(Checked, Presented), Error> {
    let checked = Checked {
        username: username(&wish.username).map_err(|e| invalid(&e))?,
        email: email(&wish.email).map_err(|e| invalid(&e))?,
        display_name: display_name(&wish.display_name).map_err(|e| invalid(&e))?,
        invitation: wish.invitation.map(|code| secret::digest(code.trim())),
        origin: Origin::of(visitor.address),
    };
    if claims_an_office(&checked.display_name) {
        return Err(invalid(&InvalidName::ClaimsOffice));
    }
    if wish.password.is_empty() {
        return Err(Error::Invalid("choose a password".to_owned()));
    }
    let transformed =
        wish.password.len() == TRANSFORMED && wish.password.bytes().all(|byte| byte.is_ascii_hexdigit());
    match wish.is_hashed {
        true if !transformed => return Err(Error::Invalid("this is no hashed password".to_owned())),
        true => {}
        false => domain::password::check_new(&wish.password).map_err(|e| invalid(&e))?,
    }
    Ok((checked, Presented::new(Some(wish.password), wish.is_hashed)))
}

/// R16. Counted by what the database holds, so that a restart changes nothing.
async fn within_limits(conn: &mut Conn, address: &str, now: Timestamp) -> Result<(), Error> {
    let window = i64::try_from(WINDOW.as_micros()).unwrap_or(i64::MAX);
    let since = Timestamp(now.0.saturating_sub(window));
    for (limit, address) in [(PER_ADDRESS, Some(address)), (OVERALL, None)] {
        if let Some(first) = store::registration::nth_last(conn, limit, since, address).await? {
            let seconds = WINDOW.saturating_sub(now.since(first)).as_secs() + 1;
            return Err(Error::TooMany { what: "too many registrations", seconds });
        }
    }
    if store::registration::waiting(conn).await? >= WAITING_MAX {
        let what = "too many accounts already wait for an administrator";
        return Err(Error::TooMany { what, seconds: WINDOW.as_secs() });
    }
    Ok(())
}
