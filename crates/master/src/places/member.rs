//! What workspaces and projects do alike with their members.

use domain::audit::{By, Entry, Who};
use domain::id::{GroupId, UserId};
use domain::place::{Member, MemberId, Role, Scope};
use domain::time::Timestamp;
use serde_json::json;
use store::Tx;

use crate::Error;

/// Who a request names: an account or a group, one of them.
///
/// # Errors
/// When it names none, or both.
pub fn named(user: Option<i64>, group: Option<i64>) -> Result<MemberId, Error> {
    match (user, group) {
        (Some(user), None) => Ok(MemberId::User(UserId(user))),
        (None, Some(group)) => Ok(MemberId::Group(GroupId(group))),
        _ => Err(Error::Invalid("give userId or groupId, one of them".to_owned())),
    }
}

/// The name of whoever is to become a member.
async fn name_of(tx: &mut Tx, member: MemberId) -> Result<String, Error> {
    match member {
        MemberId::User(id) => {
            let user = store::user::by_id(tx, id).await?.filter(|user| user.deleted_at.is_none());
            user.map(|user| user.username).ok_or_else(|| Error::NotFound(format!("user '{id}' not found")))
        }
        MemberId::Group(id) => {
            let name = store::membership::group_name(tx, id).await?;
            name.ok_or_else(|| Error::NotFound(format!("group '{id}' not found")))
        }
    }
}

fn role_in(members: &[Member], id: MemberId) -> Option<Role> {
    members.iter().find(|member| member.id == id).map(|member| member.role)
}

/// Gives somebody a role, or with `None` takes it away, and commits.
///
/// # Errors
/// When there is no such account or group.
pub(crate) async fn set(
    mut tx: Tx,
    (by, action, target): (&By, &'static str, Who),
    scope: Scope,
    member: MemberId,
    role: Option<Role>,
    now: Timestamp,
) -> Result<Vec<Member>, Error> {
    let before = role_in(&store::membership::list(&mut tx, scope).await?, member);
    if role > before {
        Error::unless_it_may_last(by)?;
    }
    let name = match role {
        Some(role) => {
            let name = name_of(&mut tx, member).await?;
            store::membership::set(&mut tx, scope, member, role).await?;
            name
        }
        None => {
            let name = name_of(&mut tx, member).await.unwrap_or_default();
            store::membership::remove(&mut tx, scope, member).await?;
            name
        }
    };
    let after = store::membership::list(&mut tx, scope).await?;
    if before != role {
        let kind = if matches!(member, MemberId::User(_)) { "user" } else { "group" };
        let facts = |role: Option<Role>| json!({ kind: name, "role": role });
        let entry = Entry::done(by, action, target);
        let entry = match (before, role) {
            (Some(_), None) => entry.removed(facts(before)),
            (None, _) => entry.made(facts(role)),
            _ => entry.changed(facts(before), facts(role)),
        };
        tx.commit(&entry, now).await?;
    }
    Ok(after)
}
