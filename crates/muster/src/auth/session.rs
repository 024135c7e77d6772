//! Acting as somebody: which user, with which token, and a new one when the old one has ended.

use anyhow::{Result, bail};
use api::auth::LoginResponse;
use api::client::{Client, ClientError};

use super::login::{self, Means};
use super::store::Store;
use super::trust;
use crate::failure::Failure;
use crate::output;
use crate::target::{Secret, Target};

/// The default user's name when the master doesn't tell it.
const DEFAULT_USER: &str = "determined";

/// A master, and somebody who is known there.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    store: Store,
    user: String,
    means: Means,
    origin: Origin,
    /// The user was named for this one run, not remembered from a login.
    named: bool,
}

/// Where the token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The environment; there is no other to be had.
    Given(&'static str),
    /// An earlier run: it may have ended since.
    Kept,
    /// This run.
    Fresh,
}

impl Session {
    /// Finds or starts a session. One that is kept is not tried out: the first request does that.
    pub(crate) async fn open(target: &Target) -> Result<Self> {
        let client = trust::client(target).await?;
        let store = Store::new(target.config_dir.clone(), &target.address);
        let start = |user: String, means, origin, token: Option<&str>| Self {
            client: match origin {
                Origin::Kept => client.with_token(token.map(str::to_owned)).acting_as(&user),
                Origin::Given(_) | Origin::Fresh => client.with_token(token.map(str::to_owned)),
            },
            store: store.clone(),
            user,
            means,
            origin,
            named: target.user.is_some(),
        };
        let means = Means::Ask(target.password.clone().map(|Secret(password)| password));
        if let Some(Secret(token)) = &target.token {
            let user = target.user.clone().unwrap_or_default();
            return Ok(start(user, means, Origin::Given("MUSTER_TOKEN"), Some(token)));
        }
        let kept = store.read()?;
        let (user, means) = match target.user.clone().or(kept.active_user) {
            Some(user) => (user, means),
            None => (default_user(&client).await?, Means::Blank),
        };
        if let Some(token) = kept.tokens.get(&user) {
            return Ok(start(user, means, Origin::Kept, Some(token)));
        }
        if let Some(Secret(token)) = &target.fallback_token {
            return Ok(start(user, means, Origin::Given("DET_USER_TOKEN"), Some(token)));
        }
        let mut session = start(user, means, Origin::Fresh, None);
        session.sign_in().await?;
        Ok(session)
    }

    /// Asks the master. A session that has ended since it was kept is replaced, once.
    pub(crate) async fn call<T>(
        &mut self,
        ask: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T> {
        match ask(&self.client).await {
            Err(error) if error.is_unauthenticated() => {
                self.renew().await?;
                Ok(ask(&self.client).await?)
            }
            Err(error) if error.is_other_account() => {
                self.follow_rename().await?;
                Ok(ask(&self.client).await?)
            }
            answer => Ok(answer?),
        }
    }

    /// The client with this session's token, for what must not start a new session.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The option that has the next command act as the same user, where this one was told to.
    pub(crate) fn option(&self) -> String {
        if self.named && !self.user.is_empty() { format!(" -u {}", self.user) } else { String::new() }
    }

    /// Where tokens are kept.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Goes on with a session that was started elsewhere, and keeps it.
    pub(crate) fn adopt(&mut self, login: &LoginResponse) {
        let (user, token) = (login.user.username.clone(), login.token.clone());
        self.client = self.client.with_token(Some(token.clone()));
        self.origin = Origin::Fresh;
        self.user.clone_from(&user);
        if let Err(error) = self.store.update(|kept| drop(kept.tokens.insert(user, token))) {
            // It works without; the next run logs in again.
            output::note(&format!("{error:#}"));
        }
    }

    /// The account behind a kept token has got another name, which what is kept follows. Who named the old one may mean
    /// somebody else by now, so nothing is done (B18).
    async fn follow_rename(&mut self) -> Result<()> {
        let client = self.client.with_token(self.client.token().map(str::to_owned));
        let name = client.me().await?.user.username;
        let old = std::mem::replace(&mut self.user, name.clone());
        self.store.rename(&old, &name)?;
        if self.named {
            bail!(Failure::Usage(format!(
                "the account that was logged in here as {old} is called {name} now, and nothing was done: \
                 say it again with -u {name}, or log in with `muster user login {old}`"
            )));
        }
        output::note(&format!("Your account is called {name} now."));
        self.client = client.acting_as(&name);
        Ok(())
    }

    async fn renew(&mut self) -> Result<()> {
        match self.origin {
            Origin::Given(variable) => bail!(Failure::NotLoggedIn(format!(
                "the token in {variable} is not accepted: it has ended, or belongs to another master"
            ))),
            Origin::Fresh => bail!(Failure::NotLoggedIn(format!("the session of {} has ended", self.user))),
            Origin::Kept => {}
        }
        let ended = self.client.token().map(str::to_owned);
        let forget = self.store.update(|kept| {
            // Another run may have replaced it meanwhile.
            if kept.tokens.get(&self.user) == ended.as_ref() {
                kept.tokens.remove(&self.user);
            }
        });
        if let Err(error) = forget {
            output::note(&format!("{error:#}"));
        }
        self.sign_in().await
    }

    async fn sign_in(&mut self) -> Result<()> {
        let client = self.client.with_token(None);
        let login = match login::sign_in(&client, &self.store, &self.user, &self.means).await {
            // Nobody asked for the default user: that it is deactivated only means that one has to log in.
            Err(error) if matches!(self.means, Means::Blank) && is_forbidden(&error) => {
                bail!(Failure::NotLoggedIn(format!(
                    "you are not logged in at {}: log in with `muster user login NAME`",
                    client.address()
                )))
            }
            login => login?,
        };
        self.adopt(&login);
        Ok(())
    }
}

fn is_forbidden(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::Forbidden(_)))
}

/// Who one is with nothing configured (P1, P2).
async fn default_user(client: &Client) -> Result<String> {
    Ok(client.info().await?.default_user.unwrap_or_else(|| DEFAULT_USER.to_owned()))
}
