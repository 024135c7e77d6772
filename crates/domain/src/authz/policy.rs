//! The permission policy: who may do what. This file is the whole of it.

use super::{Act, Actor, Refusal, TaskActor};
use crate::config::policy::Workload;
use crate::group::{Assignment, GroupChange, NewGroup};
use crate::id::{GroupId, UserId};
use crate::identity::IdentityParts;
use crate::place::{NewWorkspace, Place, ProjectChange, ProjectPlace, Role, Template, WorkspaceChange};
use crate::session::Session;
use crate::task::Task;
use crate::token::Token;
use crate::user::{NewUser, User, UserPatch};

fn admin_only(actor: &Actor, text: &'static str) -> Result<(), Refusal> {
    if actor.admin { Ok(()) } else { Err(Refusal::Forbidden(text)) }
}

macro_rules! admin_acts {
    ($($(#[$doc:meta])* $name:ident($target:ty), lasts $lasts:expr => $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Act for $name {
            type Target = $target;
            fn check(actor: &Actor, _: &$target) -> Result<(), Refusal> {
                admin_only(actor, $text)
            }
            fn lasts(target: &$target) -> bool {
                let lasts: fn(&$target) -> bool = $lasts;
                lasts(target)
            }
        }
    )*};
}

/// An account that is to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The account.
    pub user: User,
    /// Who gets what it owned; else that stays with its name.
    pub heir: Option<UserId>,
}

admin_acts! {
    /// Make an account (P5, P12). Its password isn't in the permit: whoever may make the account may give it one.
    CreateUser(NewUser), lasts NewUser::has_a_way_in => "only admin privileged users can create users";
    /// Invite an agent to enrol: which one, and whether it replaces another, is all the same.
    InviteAgent(()), lasts |()| true => "only admin privileged users can invite agents";
    /// Take an agent or a slot out of service, or back in (X8): of whichever, it takes the same.
    ManageAgents(()), lasts |()| false => "user does not have permission";
    /// Let a pending account in or turn it away (X5): whichever it is, it takes the same.
    DecideRegistrations(()), lasts |()| true => "only administrators can see and decide registrations";
    /// Invite people to register: whom, and for how long, is all the same.
    InviteUser(()), lasts |()| true => "only administrators can invite people";
    /// Take an account away for good (X6). Who gets what it owned would keep that.
    DeleteUser(Deletion), lasts |deletion| deletion.heir.is_some() => "only admin privileged users can delete users";
    /// Make a group.
    CreateGroup(NewGroup), lasts |new| !new.add.is_empty() => "user does not have permission";
    /// Change a group. By its name it is given roles.
    ChangeGroup((GroupId, GroupChange)), lasts |(_, change)| change.name.is_some() || !change.add.is_empty() => "user does not have permission";
    /// Put accounts into groups and take them out of others.
    AssignGroups(Assignment), lasts |assignment| !assignment.add.is_empty() => "user does not have permission";
    /// Delete a group.
    DeleteGroup(GroupId), lasts |_| false => "user does not have permission";
    /// Tell everybody something, whatever it is, or no longer.
    SetClusterMessage(()), lasts |()| false => "user does not have permission";
    /// Have the master remove now what its rules say is over for long enough.
    CleanUpLogs(()), lasts |()| false => "user does not have permission";
    /// Have the master say more or less in its log: how much is all the same.
    ChangeMasterLog(()), lasts |()| false => "user does not have permission";
    /// Roles can't be given while role-based access is off.
    AssignRoles(()), lasts |()| true => "access denied";
}

macro_rules! admin_reads {
    ($($(#[$doc:meta])* $name:ident => $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Act for $name {
            type Target = ();
            const READS: bool = true;
            fn check(actor: &Actor, (): &()) -> Result<(), Refusal> {
                admin_only(actor, $text)
            }
        }
    )*};
}

admin_reads! {
    /// Read the master's configuration, secrets masked.
    ReadMasterConfig => "user does not have permission";
    /// Read what everybody is told, also before they are.
    ReadClusterMessage => "user does not have permission";
    /// Read what the master says in its log.
    ReadMasterLog => "user does not have permission";
    /// See who wants to be let in.
    SeeRegistrations => "only administrators can see and decide registrations";
    /// Read and verify the audit log.
    ReadAudit => "only administrators can read the audit log";
}

/// Change an account (P5, P13, P14, D2, R31): as the patch says, each part of which is allowed or refused on its own (R33).
#[derive(Debug)]
pub struct ChangeUser;

impl Act for ChangeUser {
    type Target = (User, UserPatch);

    fn check(actor: &Actor, (user, patch): &Self::Target) -> Result<(), Refusal> {
        let (own, change) = (actor.user == user.id, patch.parts(user));
        let rules = [
            (change.admin, false, "only admin privileged users can update users"),
            (change.remote, false, "only admin privileged users can update other users"),
            (change.active, false, "only admin privileged users can update users"),
            (change.identity, false, "only admin privileged users can update users"),
            (change.username, own, "only admin privileged users can update other users"),
            (change.display_name, own, "only admin privileged users can set another user's display name"),
            (change.password, own, "only admin privileged users can change other user's passwords"),
            (change.email, own, "only admin privileged users can update other users"),
        ];
        match rules.into_iter().find(|(asked, allowed, _)| *asked && !allowed && !actor.admin) {
            Some((_, _, text)) => Err(Refusal::Forbidden(text)),
            None => Ok(()),
        }
    }

    fn lasts((user, patch): &Self::Target) -> bool {
        let change = patch.parts(user);
        let promoted = change.admin && !user.admin;
        let let_in = change.active && !user.is_active();
        // By a name people give memberships, by an address they send what opens something.
        let called = change.username || change.email;
        change.password || change.identity || change.remote || called || promoted || let_in
    }
}

/// Change anything at all of an account; what exactly is [`ChangeUser`]'s.
#[derive(Debug)]
pub struct EditUser;

impl Act for EditUser {
    type Target = User;
    fn check(actor: &Actor, user: &User) -> Result<(), Refusal> {
        if actor.admin || actor.user == user.id {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only admin privileged users can update other users"))
        }
    }
}

/// See an account: who has one sees all, but not where mail reaches others ([`super::Visible`] of a list leaves that out).
#[derive(Debug)]
pub struct SeeUser;

impl Act for SeeUser {
    type Target = User;
    const READS: bool = true;
    fn check(_: &Actor, _: &User) -> Result<(), Refusal> {
        Ok(())
    }
}

/// See groups and who is in them: every account may.
#[derive(Debug)]
pub struct SeeGroups;

impl Act for SeeGroups {
    type Target = ();
    const READS: bool = true;
    fn check(_: &Actor, (): &()) -> Result<(), Refusal> {
        Ok(())
    }
}

/// See an account's sessions: one's own, and administrators everybody's.
#[derive(Debug)]
pub struct SeeSessions;

impl Act for SeeSessions {
    type Target = User;
    const READS: bool = true;
    fn check(actor: &Actor, user: &User) -> Result<(), Refusal> {
        if actor.admin || actor.user == user.id {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only administrators can see other users' sessions"))
        }
    }
}

/// End a session: one's own, and administrators everybody's. For others it doesn't exist.
#[derive(Debug)]
pub struct EndSession;

impl Act for EndSession {
    type Target = Session;
    fn check(actor: &Actor, session: &Session) -> Result<(), Refusal> {
        if actor.admin || actor.user == session.user_id { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// Make an access token: for oneself, and administrators for everybody. A service account has its tokens made. What the
/// token is good for is all the same: it is no more than its account may.
#[derive(Debug)]
pub struct CreateToken;

impl Act for CreateToken {
    type Target = User;
    fn check(actor: &Actor, user: &User) -> Result<(), Refusal> {
        if actor.admin || actor.user == user.id {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only admin privileged users can create token for other users"))
        }
    }

    fn lasts(_: &User) -> bool {
        true
    }
}

/// See access tokens (never their secrets): one's own, and administrators everybody's.
#[derive(Debug)]
pub struct SeeTokens;

impl Act for SeeTokens {
    /// Whose; `None` is everybody's.
    type Target = Option<UserId>;
    const READS: bool = true;
    fn check(actor: &Actor, user: &Option<UserId>) -> Result<(), Refusal> {
        if actor.admin || *user == Some(actor.user) {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only admin privileged users can view other users"))
        }
    }
}

/// Describe or revoke an access token, either of which takes the same: its account, and administrators. For others it
/// doesn't exist.
#[derive(Debug)]
pub struct ChangeToken;

impl Act for ChangeToken {
    type Target = Token;
    fn check(actor: &Actor, token: &Token) -> Result<(), Refusal> {
        if actor.admin || actor.user == token.user { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// See what clients keep for their user: one's own alone.
#[derive(Debug)]
pub struct SeeSettings;

impl Act for SeeSettings {
    type Target = UserId;
    const READS: bool = true;
    fn check(actor: &Actor, user: &UserId) -> Result<(), Refusal> {
        if actor.user == *user { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// Change what clients keep for their user: one's own alone, whatever it is.
#[derive(Debug)]
pub struct ChangeSettings;

impl Act for ChangeSettings {
    type Target = UserId;
    fn check(actor: &Actor, user: &UserId) -> Result<(), Refusal> {
        if actor.user == *user { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// Make a workspace: every account may, but for the Unix identity that it lays over its users' (D2).
#[derive(Debug)]
pub struct CreateWorkspace;

impl Act for CreateWorkspace {
    type Target = NewWorkspace;
    fn check(actor: &Actor, new: &NewWorkspace) -> Result<(), Refusal> {
        may_set_identity(actor, new.identity.as_ref())
    }

    /// As whom its tasks run, and who may read their checkpoints.
    fn lasts(new: &NewWorkspace) -> bool {
        new.identity.is_some() || new.checkpoint_storage.is_some()
    }
}

fn may_set_identity(actor: &Actor, identity: Option<&IdentityParts>) -> Result<(), Refusal> {
    match identity {
        Some(_) => admin_only(actor, "only admin privileged users can set workspace agent user groups"),
        None => Ok(()),
    }
}

/// What `actor` is in a place: owner and administrators of the installation stand above all roles (X4).
fn role(actor: &Actor, place: &Place) -> Option<Role> {
    let above = actor.admin || place.owner == actor.user;
    if above { Some(Role::Administrator) } else { place.role }
}

/// Sees what is in a place.
fn inside(actor: &Actor, place: &Place) -> bool {
    !place.private || role(actor, place).is_some()
}

/// Sees that a place is there: who has a role in one of its projects sees that, and nothing else in it.
fn sees(actor: &Actor, place: &Place) -> bool {
    place.guest || inside(actor, place)
}

/// Visible, and at least `needed` in it.
fn stands(actor: &Actor, place: &Place, needed: Role, text: &'static str) -> Result<(), Refusal> {
    if !sees(actor, place) {
        return Err(Refusal::Hidden);
    }
    if role(actor, place) >= Some(needed) { Ok(()) } else { Err(Refusal::Forbidden(text)) }
}

/// What is said to whom a workspace doesn't belong.
const OWNERS_OF_WORKSPACES: &str = "only the owner of a workspace and its administrators can change it";

macro_rules! place_acts {
    ($($(#[$doc:meta])* $name:ident, reads $reads:literal, $needed:expr => $text:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Act for $name {
            type Target = Place;
            const READS: bool = $reads;
            fn check(actor: &Actor, place: &Place) -> Result<(), Refusal> {
                let needed: Option<Role> = $needed;
                match needed {
                    None if sees(actor, place) => Ok(()),
                    None => Err(Refusal::Hidden),
                    Some(needed) => stands(actor, place, needed, $text),
                }
            }
        }
    )*};
}

place_acts! {
    /// See a workspace and what is public in it (X10).
    ReadWorkspace, reads true, None => "";
    /// Put a project into a workspace: whatever it is, it takes the same.
    AddToWorkspace, reads false, Some(Role::Editor) => "only editors of the workspace can add to it";
    /// Archive a workspace, say who is in it, delete it. A role that is given lasts, if it is more than before: that the
    /// service asks in its transaction, where it sees what was before ([`super::may_last`]).
    ChangeWorkspace, reads false, Some(Role::Administrator) => OWNERS_OF_WORKSPACES;
}

/// Change a workspace's name, visibility and settings: its owner and administrators, but for the Unix identity that it lays
/// over its users' (D2).
#[derive(Debug)]
pub struct EditWorkspace;

impl Act for EditWorkspace {
    type Target = (Place, WorkspaceChange);
    fn check(actor: &Actor, (place, change): &Self::Target) -> Result<(), Refusal> {
        stands(actor, place, Role::Administrator, OWNERS_OF_WORKSPACES)?;
        may_set_identity(actor, change.identity.as_ref())
    }

    /// Opened to others, as whom its tasks run, and who may read their checkpoints.
    fn lasts((place, change): &Self::Target) -> bool {
        let opened = place.private && change.private == Some(false);
        opened || change.identity.is_some() || change.checkpoint_storage.is_some()
    }
}

/// See who is in a workspace: who sees what is in it.
#[derive(Debug)]
pub struct SeeMembers;

impl Act for SeeMembers {
    type Target = Place;
    const READS: bool = true;
    fn check(actor: &Actor, place: &Place) -> Result<(), Refusal> {
        let text = "only members of the workspace can see who is in it";
        match (inside(actor, place), sees(actor, place)) {
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::Forbidden(text)),
            (false, false) => Err(Refusal::Hidden),
        }
    }
}

/// What `actor` is in a project: its owner above all, else the higher of project's and workspace's role.
fn project_role(actor: &Actor, project: &ProjectPlace) -> Option<Role> {
    let own = (project.owner == actor.user).then_some(Role::Administrator);
    own.max(project.role).max(role(actor, &project.workspace))
}

fn sees_project(actor: &Actor, project: &ProjectPlace) -> bool {
    let public = !project.private && inside(actor, &project.workspace);
    public || project_role(actor, project).is_some()
}

fn stands_in_project(
    actor: &Actor,
    project: &ProjectPlace,
    needed: Role,
    text: &'static str,
) -> Result<(), Refusal> {
    if !sees_project(actor, project) {
        return Err(Refusal::Hidden);
    }
    if project_role(actor, project) >= Some(needed) { Ok(()) } else { Err(Refusal::Forbidden(text)) }
}

/// See a project and what is in it (X10).
#[derive(Debug)]
pub struct ReadProject;

impl Act for ReadProject {
    type Target = ProjectPlace;
    const READS: bool = true;
    fn check(actor: &Actor, project: &ProjectPlace) -> Result<(), Refusal> {
        if sees_project(actor, project) { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// Change a project: its texts and tags its editors, who sees it its administrators.
#[derive(Debug)]
pub struct ChangeProject;

impl Act for ChangeProject {
    type Target = (ProjectPlace, ProjectChange);
    fn check(actor: &Actor, (project, change): &Self::Target) -> Result<(), Refusal> {
        stands_in_project(actor, project, Role::Editor, "only editors of a project can change it")?;
        if change.private.is_some() { ManageProject::check(actor, project) } else { Ok(()) }
    }

    /// Opened to others.
    fn lasts((project, change): &Self::Target) -> bool {
        project.private && change.private == Some(false)
    }
}

/// Say who is in a project; archive, move, delete it. Whom it is moved to is another permit's ([`AddToWorkspace`]); what of
/// it lasts, the service asks in its transaction, where it sees what was before ([`super::may_last`]).
#[derive(Debug)]
pub struct ManageProject;

impl Act for ManageProject {
    type Target = ProjectPlace;
    fn check(actor: &Actor, project: &ProjectPlace) -> Result<(), Refusal> {
        let text = "only the owner of a project and its administrators can do this";
        stands_in_project(actor, project, Role::Administrator, text)
    }
}

/// Where configuration policies hold, and for which work.
#[derive(Debug, Clone)]
pub struct ConfigPoliciesOf {
    /// In which workspace; `None` is everywhere.
    pub place: Option<Place>,
    /// For which work.
    pub workload: Workload,
}

/// See configuration policies: everybody those that hold everywhere, who sees a workspace its own.
#[derive(Debug)]
pub struct ReadConfigPolicies;

impl Act for ReadConfigPolicies {
    type Target = ConfigPoliciesOf;
    const READS: bool = true;
    fn check(actor: &Actor, of: &ConfigPoliciesOf) -> Result<(), Refusal> {
        of.place.as_ref().map_or(Ok(()), |place| ReadWorkspace::check(actor, place))
    }
}

/// Set configuration policies, or take them away: administrators, and those of a workspace its owner and its administrators.
/// What they say is all the same.
#[derive(Debug)]
pub struct ChangeConfigPolicies;

impl Act for ChangeConfigPolicies {
    type Target = ConfigPoliciesOf;
    fn check(actor: &Actor, of: &ConfigPoliciesOf) -> Result<(), Refusal> {
        match &of.place {
            None => admin_only(actor, "only admins may set global config policies"),
            Some(place) => {
                let text = "only admins may set config policies for workspaces";
                stands(actor, place, Role::Administrator, text)
            }
        }
    }

    /// What everybody's experiments run is said there.
    fn lasts(of: &ConfigPoliciesOf) -> bool {
        of.workload == Workload::Experiment
    }
}

/// See and use a template: who sees what is in its workspace.
#[derive(Debug)]
pub struct ReadTemplate;

impl Act for ReadTemplate {
    type Target = (Template, Place);
    const READS: bool = true;
    fn check(actor: &Actor, (_, place): &Self::Target) -> Result<(), Refusal> {
        if inside(actor, place) { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// Lay a task over a template: who sees it, unless it holds secrets; then those who may read them. What a task runs with,
/// its owner can print.
#[derive(Debug)]
pub struct UseTemplate;

impl Act for UseTemplate {
    type Target = (Template, Place);
    const READS: bool = true;
    fn check(actor: &Actor, target: &Self::Target) -> Result<(), Refusal> {
        ReadTemplate::check(actor, target)?;
        let template = &target.0;
        if template.config.has_secrets() && SeeSecrets::check(actor, &template.owner).is_err() {
            return Err(Refusal::Forbidden(
                "this template holds variables or other secrets that only its owner may read, so only its owner can use it",
            ));
        }
        Ok(())
    }
}

/// See what a configuration keeps secret: variables, storage keys, whatever is named like a credential. Its owner alone;
/// administrators needn't know other people's keys for anything that they do.
#[derive(Debug)]
pub struct SeeSecrets;

impl Act for SeeSecrets {
    /// Whose the configuration is.
    type Target = UserId;
    const READS: bool = true;
    fn check(actor: &Actor, owner: &UserId) -> Result<(), Refusal> {
        if actor.user == *owner {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only the owner of a configuration may see its secrets"))
        }
    }
}

/// Put a template into a workspace, whatever it says: into the one that everybody shares, and where one is at least editor.
#[derive(Debug)]
pub struct AddTemplate;

impl Act for AddTemplate {
    type Target = Place;
    fn check(actor: &Actor, place: &Place) -> Result<(), Refusal> {
        if place.is_shared() {
            return Ok(());
        }
        stands(actor, place, Role::Editor, "only editors of the workspace can add templates to it")
    }
    /// What everybody's tasks run is said there.
    fn lasts(_: &Place) -> bool {
        true
    }
}

/// Change a template in whatever way, or delete it: its owner, administrators of its workspace. Everybody who sees the
/// workspace may read and use it.
#[derive(Debug)]
pub struct ChangeTemplate;

impl Act for ChangeTemplate {
    type Target = (Template, Place);
    fn check(actor: &Actor, (template, place): &Self::Target) -> Result<(), Refusal> {
        if !inside(actor, place) {
            return Err(Refusal::Hidden);
        }
        if template.owner == actor.user {
            return Ok(());
        }
        let text = "only the owner of a template and administrators of its workspace can change it";
        stands(actor, place, Role::Administrator, text)
    }
    fn lasts(_: &Self::Target) -> bool {
        true
    }
}

/// Start a task for oneself: in the workspace that everybody shares, and where one is at least editor. What it asks for is
/// held against configuration policies and quotas, not against who asks.
#[derive(Debug)]
pub struct StartTask;

impl Act for StartTask {
    type Target = Place;
    fn check(actor: &Actor, place: &Place) -> Result<(), Refusal> {
        if place.is_shared() {
            return Ok(());
        }
        stands(actor, place, Role::Editor, "only editors of the workspace can start tasks in it")
    }
}

impl StartTask {
    /// Whether an account may start a task there now: asked for one that it queued before (W17).
    #[must_use]
    pub fn is_still_allowed(owner: &User, place: &Place) -> bool {
        let (user, username, admin) = (owner.id, owner.username.clone(), owner.admin);
        // What it was queued with plays no part.
        let actor = Actor { user, username, admin, via: super::Via::DefaultUser, address: None, as_of: 0 };
        owner.is_active() && Self::check(&actor, place).is_ok()
    }
}

/// Read a task, its configuration and its log; a running task itself.
#[derive(Debug)]
pub struct ReadTask;

impl Act for ReadTask {
    type Target = (Task, Place);
    const READS: bool = true;
    fn check(actor: &Actor, (task, place): &Self::Target) -> Result<(), Refusal> {
        if task.owner == actor.user || inside(actor, place) { Ok(()) } else { Err(Refusal::Hidden) }
    }
    fn check_task(actor: &TaskActor, (task, _): &Self::Target) -> Result<(), Refusal> {
        if actor.task == task.id { Ok(()) } else { Err(Refusal::Hidden) }
    }
}

/// Read the files that were sent along with a task: its owner, and who may change what is in its workspace. Whoever sees
/// a task sees its configuration and its log; a directory holds more than its owner thinks of.
#[derive(Debug)]
pub struct ReadContext;

impl Act for ReadContext {
    type Target = (Task, Place);
    const READS: bool = true;
    fn check(actor: &Actor, target: &Self::Target) -> Result<(), Refusal> {
        ReadTask::check(actor, target)?;
        let (task, place) = target;
        if task.owner == actor.user {
            return Ok(());
        }
        let text =
            "only the owner of a task and editors of its workspace can read the files that were sent with it";
        stands(actor, place, Role::Editor, text)
    }
    fn check_task(actor: &TaskActor, target: &Self::Target) -> Result<(), Refusal> {
        ReadTask::check_task(actor, target)
    }
}

/// Hear whether a run is to end: the running task itself, of its own.
#[derive(Debug)]
pub struct HearSignals;

impl Act for HearSignals {
    type Target = (Task, Place);
    const READS: bool = true;
    fn check(actor: &Actor, target: &Self::Target) -> Result<(), Refusal> {
        ReadTask::check(actor, target)?;
        Err(Refusal::Forbidden("signals are for the running task itself, with its own token"))
    }
    fn check_task(actor: &TaskActor, target: &Self::Target) -> Result<(), Refusal> {
        ReadTask::check_task(actor, target)
    }
}

/// Answer that, or say that a run will be preempted: the running task itself, of its own.
#[derive(Debug)]
pub struct AnswerSignals;

impl Act for AnswerSignals {
    type Target = (Task, Place);
    fn check(actor: &Actor, target: &Self::Target) -> Result<(), Refusal> {
        HearSignals::check(actor, target)
    }
    fn check_task(actor: &TaskActor, target: &Self::Target) -> Result<(), Refusal> {
        HearSignals::check_task(actor, target)
    }
}

/// Kill a task, pause it, have it go on or change its priority, to whichever: its owner and administrators.
#[derive(Debug)]
pub struct ChangeTask;

impl Act for ChangeTask {
    type Target = (Task, Place);
    fn check(actor: &Actor, target: &Self::Target) -> Result<(), Refusal> {
        // Who can't see it isn't told that it is there.
        ReadTask::check(actor, target)?;
        let (task, _) = target;
        if actor.admin || actor.user == task.owner {
            Ok(())
        } else {
            Err(Refusal::Forbidden("only the owner of a task and administrators can change it"))
        }
    }
}

#[cfg(test)]
mod tests;
