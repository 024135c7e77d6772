//! Groups of accounts. What a group's members may do where is `workspace`'s business.

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::audit::{Entry, Who};
use domain::authz::{AssignGroups, ChangeGroup, CreateGroup, DeleteGroup, Permit, SeeGroups};
use domain::group::{Assignment, Group, NewGroup, name};
use domain::id::{GroupId, UserId};
use domain::user::User;
use serde_json::{Value, json};
pub use store::group::Filter as GroupFilter;
use store::{Conn, Store, StoreError, Tx};

use crate::session::Sessions;
use crate::system::Clock;
use crate::{Error, account};

/// Groups.
#[derive(Clone)]
pub struct Groups {
    store: Store,
    clock: Arc<dyn Clock>,
    sessions: Sessions,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Groups")
    }
}

/// A group and who is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The group.
    pub group: Group,
    /// By id.
    pub users: Vec<User>,
}

/// What is said of a group that isn't there.
#[must_use]
pub fn not_found(id: &str) -> String {
    format!("Error getting group {}: not found", id.escape_debug())
}

fn missing(id: GroupId) -> Error {
    Error::NotFound(not_found(&id.to_string()))
}

fn taken(doing: &str, group: &str) -> impl FnOnce(StoreError) -> Error {
    let text = format!("Error {doing} group {group}: row already exists");
    move |error| match error {
        StoreError::Duplicate => Error::Conflict(text),
        other => other.into(),
    }
}

fn checked(raw: &str) -> Result<String, Error> {
    name(raw).map_err(|e| Error::Invalid(e.to_string()))
}

async fn members(conn: &mut Conn, id: GroupId) -> Result<Members, Error> {
    let group = store::group::by_id(conn, id).await?.ok_or_else(|| missing(id))?;
    let users = store::group::members(conn, id).await?;
    Ok(Members { group, users })
}

impl Groups {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, sessions: Sessions) -> Self {
        Self { store, clock, sessions }
    }

    /// Makes a group.
    ///
    /// # Errors
    /// When its name isn't allowed or taken, or an account isn't there.
    pub async fn create(&self, permit: Permit<CreateGroup>) -> Result<Members, Error> {
        let NewGroup { name, add } = permit.target();
        let name = checked(name)?;
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        let group = store::group::insert(&mut tx, &name, now).await.map_err(taken("creating", &name))?;
        let add: BTreeSet<UserId> = add.iter().copied().collect();
        for user in &add {
            self.enter(&mut tx, group.id, *user).await?;
        }
        let made = members(&mut tx, group.id).await?;
        let entry = Entry::done(permit.by(), "group.create", target(&made.group))
            .made(facts(&made))
            .members(&[], &names(&made.users));
        let committed = tx.commit(&entry, now).await;
        self.changed(&add);
        committed?;
        Ok(made)
    }

    /// A page of the groups that match, each with the number of its members; `page` turns their number into offset and
    /// limit.
    ///
    /// # Errors
    /// What `page` answers, or the database.
    pub async fn list<P>(
        &self,
        _permit: &Permit<SeeGroups>,
        filter: &GroupFilter,
        page: impl FnOnce(i64) -> Result<(P, i64, i64), Error>,
    ) -> Result<(Vec<(Group, i64)>, P), Error> {
        let mut conn = self.store.read().await?;
        let total = store::group::count(&mut conn, filter).await?;
        let (page, offset, limit) = page(total)?;
        Ok((store::group::list(&mut conn, filter, offset, limit).await?, page))
    }

    /// A group and who is in it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn get(&self, _permit: &Permit<SeeGroups>, id: GroupId) -> Result<Members, Error> {
        let mut conn = self.store.read().await?;
        members(&mut conn, id).await
    }

    /// Changes a group: all or nothing.
    ///
    /// # Errors
    /// When the group or an account isn't there, the name isn't allowed or taken, somebody who is to come in is in it,
    /// or none of those who are to go out.
    pub async fn change(&self, permit: Permit<ChangeGroup>) -> Result<Members, Error> {
        let (id, change) = permit.target();
        let id = *id;
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        let before = members(&mut tx, id).await?;
        if let Some(raw) = &change.name {
            let name = checked(raw)?;
            store::group::rename(&mut tx, id, &name).await.map_err(taken("updating", &name))?;
        }
        let mut touched: BTreeSet<UserId> = change.add.iter().copied().collect();
        for user in &touched {
            if !self.enter(&mut tx, id, *user).await? {
                let text = format!("Error adding user(s) to group {}: row already exists", before.group.name);
                return Err(Error::Conflict(text));
            }
        }
        let leaving: BTreeSet<UserId> = change.remove.iter().copied().collect();
        let mut left = BTreeSet::new();
        for user in &leaving {
            if self.leave(&mut tx, id, *user).await? {
                left.insert(*user);
            }
        }
        if left.is_empty() && !leaving.is_empty() {
            return Err(Error::NotFound(format!(
                "Error removing {} user(s) from 1 group(s) because none were members of these groups: not found",
                leaving.len()
            )));
        }
        touched.append(&mut left);
        let after = members(&mut tx, id).await?;
        if after == before {
            return Ok(before);
        }
        let entry = Entry::done(permit.by(), "group.update", target(&before.group))
            .changed(facts(&before), facts(&after))
            .members(&names(without(&before, &after)), &names(without(&after, &before)));
        let committed = tx.commit(&entry, now).await;
        self.changed(&touched);
        committed?;
        Ok(after)
    }

    /// Puts accounts into groups and takes them out of others. Who is where they shall be already stays there.
    ///
    /// # Errors
    /// When a group or an account isn't there; then nothing was changed.
    pub async fn assign(&self, permit: Permit<AssignGroups>) -> Result<(), Error> {
        let Assignment { users, add, remove } = permit.target();
        let mut tx = self.store.write().await?;
        let mut touched = BTreeSet::new();
        let all: BTreeSet<GroupId> = add.iter().chain(remove).copied().collect();
        let mut before = Vec::with_capacity(all.len());
        for group in &all {
            before.push(members(&mut tx, *group).await?);
        }
        for user in users {
            for group in add {
                if self.enter(&mut tx, *group, *user).await? {
                    touched.insert(*user);
                }
            }
            for group in remove {
                if self.leave(&mut tx, *group, *user).await? {
                    touched.insert(*user);
                }
            }
        }
        let mut entries = Vec::with_capacity(before.len());
        for before in before {
            let after = members(&mut tx, before.group.id).await?;
            let (left, entered) = (without(&before, &after), without(&after, &before));
            if !left.is_empty() || !entered.is_empty() {
                let entry = Entry::done(permit.by(), "group.assign", target(&after.group));
                entries.push(entry.members(&names(left), &names(entered)));
            }
        }
        let Some(entry) = entries.into_iter().reduce(Entry::and) else { return Ok(()) };
        let committed = tx.commit(&entry, self.clock.now()).await;
        self.changed(&touched);
        Ok(committed?)
    }

    /// Deletes a group. Its members lose what they could do by it.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete(&self, permit: Permit<DeleteGroup>) -> Result<(), Error> {
        let id = *permit.target();
        let now = self.clock.now();
        let mut tx = self.store.write().await?;
        let gone = members(&mut tx, id).await?;
        let users: BTreeSet<UserId> = gone.users.iter().map(|user| user.id).collect();
        for user in &users {
            store::user::set_modified(&mut tx, *user, now).await?;
        }
        store::group::delete(&mut tx, id).await?;
        let entry = Entry::done(permit.by(), "group.delete", target(&gone.group))
            .removed(facts(&gone))
            .members(&names(&gone.users), &[]);
        let committed = tx.commit(&entry, now).await;
        self.changed(&users);
        Ok(committed?)
    }

    /// Whether the account wasn't in it before.
    async fn enter(&self, tx: &mut Tx, id: GroupId, user: UserId) -> Result<bool, Error> {
        let found = store::user::by_id(tx, user).await?.filter(|user| user.deleted_at.is_none());
        found.ok_or_else(|| Error::NotFound(account::NOT_FOUND.to_owned()))?;
        let entered = store::group::add(tx, id, user).await?;
        if entered {
            store::user::set_modified(tx, user, self.clock.now()).await?;
        }
        Ok(entered)
    }

    /// Whether the account was in it.
    async fn leave(&self, tx: &mut Tx, id: GroupId, user: UserId) -> Result<bool, Error> {
        let left = store::group::remove(tx, id, user).await?;
        if left {
            store::user::set_modified(tx, user, self.clock.now()).await?;
        }
        Ok(left)
    }

    fn changed(&self, users: &BTreeSet<UserId>) {
        for user in users {
            self.sessions.user_changed(*user);
        }
    }
}

fn target(group: &Group) -> Who {
    Who::named("group", &group.id, &group.name)
}

fn facts(members: &Members) -> Value {
    json!({ "name": members.group.name, "members": members.users.len() })
}

fn names<'u>(users: impl IntoIterator<Item = &'u User>) -> Vec<String> {
    users.into_iter().map(|user| user.username.clone()).collect()
}

/// Who is in one state of a group alone.
fn without<'u>(members: &'u Members, other: &Members) -> Vec<&'u User> {
    let there: BTreeSet<UserId> = other.users.iter().map(|user| user.id).collect();
    members.users.iter().filter(|user| !there.contains(&user.id)).collect()
}
