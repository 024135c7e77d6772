//! Taking an account away for good (X6, R35). Its row stays: what it made goes by its name, and nobody else gets that.

use domain::audit::{Entry, Who};
use domain::authz::{DeleteUser, Deletion, Permit};
use domain::id::UserId;
use domain::user::{Password, Status, User};
use serde_json::{Value, json};
use store::Tx;

use super::{Accounts, last_admin_stays, not_found};
use crate::{Error, audit};

impl Accounts {
    /// Deletes an account; what it made is given to its heir, or stays with its name. Again, it changes nothing.
    ///
    /// # Errors
    /// While tasks of it are alive; for oneself, the default user and the last active administrator (R31); when nothing
    /// can be given to the heir.
    pub async fn delete(&self, permit: Permit<DeleteUser>) -> Result<(), Error> {
        let by = permit.by().clone();
        let Deletion { user: User { id, .. }, heir } = *permit.target();
        let mut tx = self.store.write_urgent().await?;
        let user = store::user::by_id(&mut tx, id).await?.ok_or_else(not_found)?;
        if user.deleted_at.is_some() {
            return Ok(());
        }
        self.may_go(&mut tx, &user, permit.actor()).await?;
        let heir = match heir {
            Some(heir) => Some(hand_over(&mut tx, &user, heir).await?),
            None => None,
        };
        let now = self.clock.now();
        store::belongings::remove(&mut tx, id).await?;
        store::registration::forget_email(&mut tx, id).await?;
        store::token::revoke_of_user(&mut tx, id, now).await?;
        store::invitation::withdraw_of(&mut tx, id, now).await?;
        let gone = User {
            admin: false,
            status: Status::Deactivated,
            password: Password::Impossible,
            identity: None,
            email: None,
            modified_at: now,
            deleted_at: Some(now),
            ..user.clone()
        };
        store::user::update(&mut tx, &gone).await?;
        let entry = Entry::done(&by, "user.delete", audit::account(&user));
        let mut facts = audit::account_facts(&gone);
        facts["assetsTo"] = heir.map_or(Value::Null, |heir: Who| json!(heir.name));
        let committed = tx.commit(&entry.changed(audit::account_facts(&user), facts), now).await;
        self.sessions.user_ended(id);
        committed?;
        self.cluster.initial_password().over(id).await;
        Ok(())
    }

    async fn may_go(&self, tx: &mut Tx, user: &User, actor: Option<UserId>) -> Result<(), Error> {
        let name = &user.username;
        let refused = |text: String| Err(Error::Precondition(text));
        if user.status == Status::Pending {
            return refused(format!("{name} waits to be let in: reject the registration"));
        }
        if actor == Some(user.id) {
            return refused("nobody deletes their own account: ask another administrator".to_owned());
        }
        if self.cluster.default_user() == user.id {
            return refused(format!("{name} is the default user: deactivate the account"));
        }
        if user.admin && user.is_active() {
            last_admin_stays(tx, name).await?;
        }
        let living = store::task::alive(tx).await?.iter().filter(|task| task.owner == user.id).count();
        if living > 0 {
            let tasks = if living == 1 { "a task" } else { "tasks" };
            return refused(format!("{name} has {tasks} alive ({living}): kill first what runs and waits"));
        }
        Ok(())
    }
}

async fn hand_over(tx: &mut Tx, user: &User, heir: UserId) -> Result<Who, Error> {
    let heir = store::user::by_id(tx, heir).await?;
    let heir = heir.filter(|heir| heir.is_active() && heir.id != user.id);
    let text = "assetsTo: give what is left to another account that is active";
    let heir = heir.ok_or_else(|| Error::Invalid(text.to_owned()))?;
    store::belongings::hand_over(tx, user.id, heir.id).await?;
    Ok(audit::account(&heir))
}
