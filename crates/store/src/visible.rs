//! What an account sees: the policy of `domain::authz`, said in SQL for lists, counts and the facts that single things are
//! judged by. All of it stands here, and `tests/database/visible.rs` holds it against the policy in worlds made at random.
//!
//! Administrators see everything: for them no condition is asked for. Each function says which short names of tables it
//! takes for granted.

use domain::id::UserId;

use crate::sql::{Sql, sql};

/// The highest role of some memberships `m` as a number, which `membership::role` reads.
pub(crate) const HIGHEST_ROLE: &str =
    "CAST(MAX(CASE m.role WHEN 'administrator' THEN 3 WHEN 'editor' THEN 2 ELSE 1 END) AS BIGINT)";

/// A membership `m` is `actor`'s own, or one of their groups'.
fn is_own(actor: UserId) -> Sql {
    sql!(
        "((m.member_kind = 'user' AND m.member_id = ?) OR (m.member_kind = 'group'
            AND m.member_id IN (SELECT g.group_id FROM group_members g WHERE g.user_id = ?)))",
        actor,
        actor
    )
}

/// The memberships `m` of `actor` in the workspace that is `w.id`: what stands behind `SELECT …`.
pub(crate) fn own_in_workspace(actor: UserId) -> Sql {
    Sql::from(" FROM memberships m WHERE m.scope = 'workspace' AND m.scope_id = w.id AND ")
        .with(is_own(actor))
}

/// The same in the project that is `p.id`.
pub(crate) fn own_in_project(actor: UserId) -> Sql {
    Sql::from(" FROM memberships m WHERE m.scope = 'project' AND m.scope_id = p.id AND ").with(is_own(actor))
}

fn exists(rows: Sql) -> Sql {
    Sql::from("EXISTS (SELECT 1").with(rows).with(")")
}

/// A project `p` is `actor`'s, or they have a role in it: what makes them a guest of its workspace.
pub(crate) fn guest_by_project(actor: UserId) -> Sql {
    sql!("(p.owner_id = ? OR ", actor).with(exists(own_in_project(actor))).with(")")
}

/// `actor` sees that a workspace `w`, which wasn't deleted, is there: `ReadWorkspace`.
pub(crate) fn workspaces(actor: UserId) -> Sql {
    sql!("(NOT w.private OR w.owner_id = ? OR ", actor)
        .with(exists(own_in_workspace(actor)))
        .with(" OR EXISTS (SELECT 1 FROM projects p WHERE p.workspace_id = w.id AND ")
        .with(guest_by_project(actor))
        .with("))")
}

/// `actor` sees a project `p`: `ReadProject`.
pub(crate) fn projects(actor: UserId) -> Sql {
    Sql::from("(")
        .with(guest_by_project(actor))
        .with(" OR EXISTS (SELECT 1 FROM workspaces w WHERE w.id = p.workspace_id AND ")
        .with(sql!("(w.owner_id = ? OR (NOT w.private AND NOT p.private) OR ", actor))
        .with(exists(own_in_workspace(actor)))
        .with(")))")
}

/// `actor` sees a template `t`: `ReadTemplate`.
pub(crate) fn templates(actor: UserId) -> Sql {
    Sql::from("t.workspace_id NOT IN (").with(hidden_workspaces(actor)).with(")")
}

/// `actor` sees a task `t`: `ReadTask`.
pub(crate) fn tasks(actor: UserId) -> Sql {
    sql!("(t.owner_id = ? OR t.workspace_id NOT IN (", actor).with(hidden_workspaces(actor)).with("))")
}

/// `actor` sees who is in the workspace of a membership `m`: `SeeMembers`.
pub(crate) fn members(actor: UserId) -> Sql {
    Sql::from("m.scope_id NOT IN (").with(hidden_workspaces(actor)).with(")")
}

/// The ids of the workspaces whose content `actor` doesn't see. Of a deleted one its owner alone does.
pub(crate) fn hidden_workspaces(actor: UserId) -> Sql {
    sql!(
        "SELECT w.id FROM workspaces w WHERE (w.private OR w.deleted_at IS NOT NULL) AND w.owner_id <> ?
            AND (w.deleted_at IS NOT NULL OR NOT ",
        actor
    )
    .with(exists(own_in_workspace(actor)))
    .with(")")
}
