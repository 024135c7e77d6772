//! How a caller gets at a thing: what names it is looked up as things are and as the caller stands to it, and the policy is
//! asked about what was found. There is one way for all nouns: a new one says what names it ([`Key`], in `keys`).
//!
//! What isn't there and what isn't there for this caller are said in the same words, which are the key's.

mod keys;

use std::fmt::Display;

use domain::authz::{Act, Asker, Permit, authorize};
use domain::id::UserId;
use store::Conn;

pub use keys::{AccountName, OwnerName, PoliciesOf, ProjectCode, ProjectOf, TemplateName};

use crate::{Error, Master};

/// What names a thing in a request. As text it is what was asked for, fit to be told.
pub trait Key: Display + Send + Sync {
    /// The thing, with what the policy has to know of it.
    type Opens: Send;

    /// What is said of one that isn't there for the caller, whatever was `named`.
    fn missing(named: &dyn Display) -> String;

    /// The thing as it is, and as `viewer` stands to it.
    fn find(
        &self,
        conn: &mut Conn,
        viewer: UserId,
    ) -> impl Future<Output = Result<Option<Self::Opens>, Error>> + Send;
}

/// A thing that callers open, and that is looked at again in the transaction that changes it ([`crate::again`]).
pub trait Opened: Sized + Send + Sync {
    /// What names it wherever it is.
    type Key: Key<Opens = Self>;

    /// Its own.
    fn key(&self) -> Self::Key;
}

/// What an act is done to.
pub trait Target {
    /// What is said of it to who may not know of it.
    fn missing(&self) -> String;
}

impl<T: Opened> Target for T {
    fn missing(&self) -> String {
        <T::Key as Key>::missing(&self.key())
    }
}

fn missing<K: Key>(key: &K) -> String {
    K::missing(key)
}

/// A thing together with what is to change of it, which the policy's answer depends on.
pub trait Changed: Target + Sized {
    /// The thing.
    type Thing: Opened;
    /// What is to change of it; by itself nothing does.
    type Change: Default;

    /// Both.
    fn new(thing: Self::Thing, change: Self::Change) -> Self;

    /// The thing alone.
    fn into_thing(self) -> Self::Thing;
}

/// What can be looked at again in a transaction.
pub(crate) trait Again: Target + Sized {
    /// The same as it is now, and as `viewer` stands to it; with the same change.
    fn again(
        &self,
        conn: &mut Conn,
        viewer: UserId,
    ) -> impl Future<Output = Result<Option<Self>, Error>> + Send;
}

impl<T: Opened> Again for T {
    async fn again(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<Self>, Error> {
        self.key().find(conn, viewer).await
    }
}

/// Asks the policy about something that is known already.
///
/// # Errors
/// The refusal.
pub fn may<'a, A: Act<Target: Target>>(
    asker: impl Into<Asker<'a>>,
    target: A::Target,
) -> Result<Permit<A>, Error> {
    let missing = target.missing();
    authorize(asker, target).map_err(|refusal| Error::refused(refusal, missing))
}

/// Asks about the change that it is to be.
///
/// # Errors
/// The refusal.
pub fn to<'a, A: Act<Target: Changed>>(
    asker: impl Into<Asker<'a>>,
    permit: Permit<A>,
    change: <A::Target as Changed>::Change,
) -> Result<Permit<A>, Error> {
    may(asker, A::Target::new(permit.into_target().into_thing(), change))
}

impl Master {
    /// Opens what a key names for some change of it, whichever that is: what it is to be is read only then, and asked
    /// about for itself ([`to`]).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_to_change<'a, A: Act<Target: Changed>>(
        &self,
        asker: impl Into<Asker<'a>>,
        key: impl Key<Opens = <A::Target as Changed>::Thing>,
    ) -> Result<Permit<A>, Error> {
        let asker = asker.into();
        let mut conn = self.store.read().await?;
        let found = key.find(&mut conn, asker.user()).await?;
        drop(conn);
        let thing = found.ok_or_else(|| Error::NotFound(missing(&key)))?;
        may(asker, A::Target::new(thing, Default::default()))
    }

    /// Opens what a key names for `A`.
    ///
    /// # Errors
    /// When it isn't there, or not for whoever asks, or they may not do that.
    pub async fn open<'a, A: Act>(
        &self,
        asker: impl Into<Asker<'a>>,
        key: impl Key<Opens = A::Target>,
    ) -> Result<Permit<A>, Error> {
        let asker = asker.into();
        let mut conn = self.store.read().await?;
        let found = key.find(&mut conn, asker.user()).await?;
        drop(conn);
        let target = found.ok_or_else(|| Error::NotFound(missing(&key)))?;
        authorize(asker, target).map_err(|refusal| Error::refused(refusal, missing(&key)))
    }
}
