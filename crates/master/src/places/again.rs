//! A right is used where it is looked at: a permit was given for what a place was before the transaction began, so the
//! transaction reads the place and asks the policy again (R25). What the actor's own account may is asked at the commit
//! (`store::Tx::commit`).

use domain::authz::{Act, ConfigPoliciesOf, Permit};
use domain::id::UserId;
use domain::place::{Place, ProjectPlace, Template};
use store::{Conn, Store, Tx};

use crate::{Error, project, template, workspace};

/// What a permit is for, where that is something in a place.
pub(crate) trait InPlace: Sized {
    /// The same, as it is now and as `actor` stands to it; `None` when it isn't there any more.
    async fn again(&self, conn: &mut Conn, actor: UserId) -> Result<Option<Self>, Error>;

    /// What is said of it to who may not know of it.
    fn missing(&self) -> String;
}

impl InPlace for Place {
    async fn again(&self, conn: &mut Conn, actor: UserId) -> Result<Option<Self>, Error> {
        Ok(store::workspace::place(conn, self.workspace, actor).await?)
    }

    fn missing(&self) -> String {
        workspace::hidden(self.workspace)
    }
}

impl InPlace for ProjectPlace {
    async fn again(&self, conn: &mut Conn, actor: UserId) -> Result<Option<Self>, Error> {
        Ok(store::project::place(conn, self.project, actor).await?)
    }

    fn missing(&self) -> String {
        project::hidden(self.project)
    }
}

impl InPlace for (Template, Place) {
    async fn again(&self, conn: &mut Conn, actor: UserId) -> Result<Option<Self>, Error> {
        let Some(template) = store::template::by_name(conn, &self.0.name).await? else { return Ok(None) };
        let place = store::workspace::place(conn, template.workspace, actor).await?;
        Ok(place.map(|place| (template, place)))
    }

    fn missing(&self) -> String {
        template::hidden(&self.0.name)
    }
}

impl InPlace for ConfigPoliciesOf {
    async fn again(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<Self>, Error> {
        let Some(place) = &self.place else { return Ok(Some(self.clone())) };
        let place = place.again(conn, viewer).await?;
        Ok(place.map(|place| Self { place: Some(place), ..*self }))
    }

    fn missing(&self) -> String {
        self.place.as_ref().map(InPlace::missing).unwrap_or_default()
    }
}

/// Begins the change that a permit is for.
///
/// # Errors
/// When it isn't allowed any more.
pub(crate) async fn begin<A: Act<Target: InPlace>>(store: &Store, permit: &Permit<A>) -> Result<Tx, Error> {
    let mut tx = store.write().await?;
    ask(&mut tx, permit).await?;
    Ok(tx)
}

/// Asks again, in a transaction that has begun.
///
/// # Errors
/// When it isn't allowed any more.
pub(crate) async fn ask<A: Act<Target: InPlace>>(tx: &mut Tx, permit: &Permit<A>) -> Result<(), Error> {
    let Some(actor) = permit.actor() else { return Ok(()) };
    let target = permit.target();
    let now = target.again(tx, actor).await?.ok_or_else(|| Error::NotFound(target.missing()))?;
    permit.ask_again(&now).map_err(|refusal| Error::refused(refusal, target.missing()))
}
