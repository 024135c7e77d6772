//! A right is used where it is looked at: a permit was given for what a place was before the transaction began, so the
//! transaction reads the place and asks the policy again (R25). What the actor's own account may is asked at the commit
//! (`store::Tx::commit`).

use domain::authz::{Act, Permit};
use store::{Store, Tx};

use crate::Error;
use crate::open::{Again, Target as _};

/// Begins the change that a permit is for.
///
/// # Errors
/// When it isn't allowed any more.
pub(crate) async fn begin<A: Act<Target: Again>>(store: &Store, permit: &Permit<A>) -> Result<Tx, Error> {
    let mut tx = store.write().await?;
    ask(&mut tx, permit).await?;
    Ok(tx)
}

/// Asks again, in a transaction that has begun.
///
/// # Errors
/// When it isn't allowed any more.
pub(crate) async fn ask<A: Act<Target: Again>>(tx: &mut Tx, permit: &Permit<A>) -> Result<(), Error> {
    let Some(actor) = permit.actor() else { return Ok(()) };
    let target = permit.target();
    let now = target.again(tx, actor).await?.ok_or_else(|| Error::NotFound(target.missing()))?;
    permit.ask_again(&now).map_err(|refusal| Error::refused(refusal, target.missing()))
}
