//! Who may do what, as the policy itself answers: every act, in the situations that differ, for every kind of caller.
//!
//! `docs/permissions.md` is made from this, and what a server answers is held against it (`web/tests/permissions.rs`). A new
//! act has its lines in [`table`]; who adds one sees there what it allows to whom.

mod facts;
#[cfg(test)]
pub(super) use facts::task as a_task;

use super::policy::*;
use super::{Act, Actor, Refusal, authorize, may_last, name};
use crate::audit::By;
use crate::config::policy::Workload;
use crate::group::{Assignment, GroupChange, NewGroup};
use crate::id::GroupId;
use crate::identity::IdentityParts;
use crate::password::Sent;
use crate::place::{NewWorkspace, ProjectChange, WorkspaceChange};
use crate::user::{NewUser, UserPatch};
use facts::{Facts, deletion, task, template, with_secrets};

/// A kind of caller, from the weakest on. *Owner* is the account, or the owner of the thing, that is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// Has no role anywhere.
    Stranger,
    /// An editor of the project alone that is asked about; a guest of the workspace that it is in.
    ProjectMember,
    /// A viewer of the workspace.
    Viewer,
    /// An editor of the workspace.
    Editor,
    /// An administrator of the workspace.
    WorkspaceAdministrator,
    /// The owner.
    Owner,
    /// The owner, by an access token for everything.
    OwnerByToken,
    /// An administrator of the installation, by an access token for reading.
    Reader,
    /// The same, by one for everything.
    ByToken,
    /// The same, by a login.
    Administrator,
    /// The task that is asked about, by its own token; of other things one of the owner's.
    TaskItself,
}

impl Caller {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Stranger,
        Self::ProjectMember,
        Self::Viewer,
        Self::Editor,
        Self::WorkspaceAdministrator,
        Self::Owner,
        Self::OwnerByToken,
        Self::Reader,
        Self::ByToken,
        Self::Administrator,
        Self::TaskItself,
    ];

    /// As the table calls them.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::ProjectMember => "project member",
            Self::Viewer => "workspace viewer",
            Self::Editor => "workspace editor",
            Self::WorkspaceAdministrator => "workspace administrator",
            Self::Owner => "owner",
            Self::OwnerByToken => "owner's access token",
            Self::Reader => "administrator's token for reading",
            Self::ByToken => "administrator's access token",
            Self::Administrator => "administrator",
            Self::TaskItself => "the task itself",
        }
    }
}

/// The policy's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// They may.
    Yes,
    /// They may not, and are told.
    No,
    /// For them it isn't there.
    NotThere,
}

impl Verdict {
    fn of<T>(asked: &Result<T, Refusal>) -> Self {
        match asked {
            Ok(_) => Self::Yes,
            Err(Refusal::Forbidden(_)) => Self::No,
            Err(Refusal::Hidden) => Self::NotThere,
        }
    }

    /// As the table shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::NotThere => "not there",
        }
    }
}

/// An act in a situation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The act's name.
    pub act: &'static str,
    /// What it is done to.
    pub situation: &'static str,
    /// The answers, in the order of [`Caller::ALL`].
    pub verdicts: [Verdict; Caller::ALL.len()],
}

impl Line {
    /// The answer to one of them.
    #[must_use]
    pub fn verdict(&self, caller: Caller) -> Verdict {
        let place = Caller::ALL.iter().position(|other| *other == caller);
        place.map_or(Verdict::No, |place| self.verdicts[place])
    }
}

#[derive(Default)]
struct Table(Vec<Line>);

impl Table {
    fn ask<A: Act>(&mut self, situation: &'static str, target: impl Fn(&Facts) -> A::Target) -> &mut Self {
        self.line::<A>(situation, |facts| Verdict::of(&authorize::<A>(facts.asker(), target(facts))))
    }

    /// The same where it gives something that stays: what the service asks in its transaction ([`may_last`]).
    fn lasting<A: Act>(
        &mut self,
        situation: &'static str,
        target: impl Fn(&Facts) -> A::Target,
    ) -> &mut Self {
        self.line::<A>(situation, |facts| {
            let asked = authorize::<A>(facts.asker(), target(facts));
            Verdict::of(&asked.and_then(|_| may_last(&By::from(facts.actor()))))
        })
    }

    fn line<A: Act>(&mut self, situation: &'static str, asked: impl Fn(&Facts) -> Verdict) -> &mut Self {
        let verdicts = Caller::ALL.map(|caller| asked(&Facts::of(caller)));
        self.0.push(Line { act: name::<A>(), situation, verdicts });
        self
    }
}

/// All lines, by act in the order in which people look for them.
#[must_use]
pub fn table() -> Vec<Line> {
    let mut table = Table::default();
    installation(&mut table);
    accounts(&mut table);
    workspaces(&mut table);
    projects(&mut table);
    templates(&mut table);
    config_policies(&mut table);
    tasks(&mut table);
    table.0
}

fn installation(table: &mut Table) {
    table
        .ask::<ReadMasterConfig>("", |_| ())
        .ask::<ReadAudit>("", |_| ())
        .ask::<ReadMasterLog>("", |_| ())
        .ask::<ChangeMasterLog>("", |_| ())
        .ask::<CleanUpLogs>("", |_| ())
        .ask::<ReadClusterMessage>("", |_| ())
        .ask::<SetClusterMessage>("", |_| ())
        .ask::<InviteAgent>("", |_| ())
        .ask::<ManageAgents>("", |_| ());
}

/// A change of one part of the owner's account.
fn part(table: &mut Table, situation: &'static str, patch: UserPatch) {
    table.ask::<ChangeUser>(situation, |facts| (facts.account(), patch.clone()));
}

fn named(name: &str) -> Option<String> {
    Some(name.to_owned())
}

fn accounts(table: &mut Table) {
    table
        .ask::<CreateUser>("nobody can log in to it yet", |_| NewUser::without_a_way_in())
        .ask::<CreateUser>("somebody can log in to it", |_| NewUser::default())
        .ask::<SeeUser>("the owner's", Facts::account)
        .ask::<EditUser>("the owner's", Facts::account);
    let nothing = UserPatch::default;
    let password = || UserPatch::password(Sent::default());
    part(table, "display name", UserPatch { display_name: named("x"), ..nothing() });
    part(table, "name", UserPatch { username: named("x"), ..nothing() });
    part(table, "mail address", UserPatch { email: named("x@y"), ..nothing() });
    part(table, "password", password());
    part(table, "role: given", UserPatch { admin: Some(true), ..nothing() });
    part(table, "sign-on only", UserPatch { remote: Some(true), ..nothing() });
    part(table, "Unix identity", UserPatch { identity: Some(IdentityParts::default()), ..nothing() });
    part(table, "put out", UserPatch { active: Some(false), ..nothing() });
    let active = || UserPatch { active: Some(true), ..nothing() };
    table
        .ask::<ChangeUser>("let in again", |facts| (facts.deactivated(), active()))
        .ask::<ChangeUser>("one's own password", |facts| (facts.oneself(), password()))
        .ask::<DeleteUser>("", |facts| deletion(facts, false))
        .ask::<DeleteUser>("what it owns goes to somebody", |facts| deletion(facts, true))
        .ask::<SeeRegistrations>("", |_| ())
        .ask::<DecideRegistrations>("", |_| ())
        .ask::<InviteUser>("", |_| ())
        .ask::<SeeGroups>("", |_| ())
        .ask::<CreateGroup>("", |_| NewGroup::default())
        .ask::<CreateGroup>("with somebody in it", |facts| NewGroup {
            add: vec![facts.actor().user],
            ..NewGroup::default()
        })
        .ask::<ChangeGroup>("somebody out of it", |facts| {
            (GroupId(7), GroupChange { remove: vec![facts.actor().user], ..GroupChange::default() })
        })
        .ask::<ChangeGroup>("its name", |_| {
            (GroupId(7), GroupChange { name: named("x"), ..GroupChange::default() })
        })
        .ask::<ChangeGroup>("somebody into it", |facts| {
            (GroupId(7), GroupChange { add: vec![facts.actor().user], ..GroupChange::default() })
        })
        .ask::<AssignGroups>("out of groups", |_| Assignment {
            remove: vec![GroupId(7)],
            ..Assignment::default()
        })
        .ask::<AssignGroups>("into groups", |_| Assignment { add: vec![GroupId(7)], ..Assignment::default() })
        .ask::<DeleteGroup>("", |_| GroupId(7))
        .ask::<AssignRoles>("everywhere", |_| ())
        .ask::<SeeSessions>("the owner's", Facts::account)
        .ask::<EndSession>("the owner's", Facts::session)
        .ask::<SeeTokens>("one's own", |facts| Some(facts.actor().user))
        .ask::<SeeTokens>("the owner's", |facts| Some(facts.account().id))
        .ask::<SeeTokens>("everybody's", |_| None)
        .ask::<CreateToken>("for oneself", Facts::oneself)
        .ask::<CreateToken>("for the owner", Facts::account)
        .ask::<ChangeToken>("the owner's", Facts::token)
        .ask::<SeeSettings>("one's own", |facts| facts.actor().user)
        .ask::<SeeSettings>("the owner's", |facts| facts.account().id)
        .ask::<ChangeSettings>("one's own", |facts| facts.actor().user)
        .ask::<ChangeSettings>("the owner's", |facts| facts.account().id);
}

/// What distinguishes things that are answered differently, and one of them.
type Kind<T> = (&'static str, fn(&Facts) -> T);

fn workspaces(table: &mut Table) {
    let identity = || Some(IdentityParts::default());
    let new = |identity, storage: Option<&str>| NewWorkspace {
        identity,
        checkpoint_storage: storage.map(str::to_owned),
        ..NewWorkspace::default()
    };
    table
        .ask::<CreateWorkspace>("", |_| new(None, None))
        .ask::<CreateWorkspace>("with a Unix identity", |_| new(identity(), None))
        .ask::<CreateWorkspace>("with a place for checkpoints", |_| new(None, Some("{}")));
    let kinds: [Kind<_>; 3] =
        [("the shared one", Facts::shared), ("public", Facts::public), ("private", Facts::private)];
    for (kind, place) in kinds {
        table
            .ask::<ReadWorkspace>(kind, place)
            .ask::<SeeMembers>(kind, place)
            .ask::<AddToWorkspace>(kind, place)
            .ask::<ChangeWorkspace>(kind, place)
            .ask::<EditWorkspace>(kind, |facts| (place(facts), WorkspaceChange::default()));
    }
    let nothing = WorkspaceChange::default;
    let opened = || WorkspaceChange { private: Some(false), ..nothing() };
    let checkpoints = || WorkspaceChange { checkpoint_storage: named("{}"), ..nothing() };
    table
        .ask::<AddToWorkspace>("one's own", Facts::own)
        .lasting::<ChangeWorkspace>("private: a role given", Facts::private)
        .ask::<EditWorkspace>("private: opened", |facts| (facts.private(), opened()))
        .ask::<EditWorkspace>("private: where checkpoints go", |facts| (facts.private(), checkpoints()))
        .ask::<EditWorkspace>("private: Unix identity", |facts| {
            (facts.private(), WorkspaceChange { identity: identity(), ..nothing() })
        });
}

fn projects(table: &mut Table) {
    let kinds: [Kind<_>; 5] = [
        ("the shared one", |facts| facts.project(false, facts.shared())),
        ("public, in a public workspace", |facts| facts.project(false, facts.public())),
        ("public, in a private workspace", |facts| facts.project(false, facts.private())),
        ("private, in a private workspace", |facts| facts.project(true, facts.private())),
        ("private, in another private workspace", |facts| facts.project(true, facts.elsewhere())),
    ];
    for (kind, project) in kinds {
        table
            .ask::<ReadProject>(kind, project)
            .ask::<ChangeProject>(kind, |facts| (project(facts), ProjectChange::default()))
            .ask::<ManageProject>(kind, project);
    }
    let seen = |private| ProjectChange { private: Some(private), ..ProjectChange::default() };
    for (kind, given, opened, closed) in [
        (
            kinds[3].1,
            "private, in a private workspace: moved, or a role given",
            "private, in a private workspace: opened",
            "private, in a private workspace: left private",
        ),
        (
            kinds[4].1,
            "private, in another private workspace: moved, or a role given",
            "private, in another private workspace: opened",
            "private, in another private workspace: left private",
        ),
    ] {
        table
            .lasting::<ManageProject>(given, kind)
            .ask::<ChangeProject>(opened, |facts| (kind(facts), seen(false)))
            .ask::<ChangeProject>(closed, |facts| (kind(facts), seen(true)));
    }
}

fn templates(table: &mut Table) {
    let kinds: [Kind<_>; 3] = [
        ("in the shared workspace", Facts::shared),
        ("in a public workspace", Facts::public),
        ("in a private workspace", Facts::private),
    ];
    for (kind, place) in kinds {
        table
            .ask::<AddTemplate>(kind, place)
            .ask::<ReadTemplate>(kind, |facts| (template(), place(facts)))
            .ask::<UseTemplate>(kind, |facts| (template(), place(facts)))
            .ask::<ChangeTemplate>(kind, |facts| (template(), place(facts)));
    }
    table
        .ask::<UseTemplate>("in the shared workspace, with secrets", |facts| (with_secrets(), facts.shared()))
        .ask::<SeeSecrets>("the owner's", |facts| facts.account().id);
}

fn config_policies(table: &mut Table) {
    let of = |place, workload| ConfigPoliciesOf { place, workload };
    table
        .ask::<ReadConfigPolicies>("everywhere", |_| of(None, Workload::Tasks))
        .ask::<ChangeConfigPolicies>("everywhere, for tasks", |_| of(None, Workload::Tasks))
        .ask::<ChangeConfigPolicies>("everywhere, for experiments", |_| of(None, Workload::Experiment))
        .ask::<ReadConfigPolicies>("public", |facts| of(Some(facts.public()), Workload::Tasks))
        .ask::<ChangeConfigPolicies>("public, for tasks", |facts| of(Some(facts.public()), Workload::Tasks))
        .ask::<ReadConfigPolicies>("private", |facts| of(Some(facts.private()), Workload::Tasks))
        .ask::<ChangeConfigPolicies>("private, for tasks", |facts| of(Some(facts.private()), Workload::Tasks))
        .ask::<ChangeConfigPolicies>("private, for experiments", |facts| {
            of(Some(facts.private()), Workload::Experiment)
        });
}

fn tasks(table: &mut Table) {
    let kinds: [Kind<_>; 3] = [
        ("in the shared workspace", Facts::shared),
        ("in a public workspace", Facts::public),
        ("in a private workspace", Facts::private),
    ];
    for (kind, place) in kinds {
        table
            .ask::<StartTask>(kind, place)
            .ask::<ReadTask>(kind, |facts| (task(), place(facts)))
            .ask::<ReadContext>(kind, |facts| (task(), place(facts)))
            .ask::<HearSignals>(kind, |facts| (task(), place(facts)))
            .ask::<AnswerSignals>(kind, |facts| (task(), place(facts)))
            .ask::<ChangeTask>(kind, |facts| (task(), place(facts)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(act: &str, situation: &str, caller: Caller) -> Verdict {
        let lines = table();
        let line = lines.iter().find(|line| line.act == act && line.situation == situation);
        line.expect("a line").verdict(caller)
    }

    #[test]
    fn no_line_is_there_twice() {
        let lines = table();
        let mut keys: Vec<_> = lines.iter().map(|line| (line.act, line.situation)).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), lines.len());
    }

    #[test]
    fn every_act_of_the_policy_is_in_it() {
        let policy = include_str!("policy.rs");
        let acts = policy.lines().filter_map(|line| {
            let plain = line.strip_prefix("impl Act for ").and_then(|rest| rest.split(' ').next());
            // In the macros: `    Name(…` and `    Name => …`, after their comments.
            let made = line.strip_prefix("    ").filter(|rest| rest.starts_with(char::is_uppercase));
            let made = made
                .filter(|rest| rest.contains("=> \""))
                .and_then(|rest| rest.split(['(', ' ', ',']).next());
            plain.or(made)
        });
        let acts: Vec<_> = acts.collect();
        assert!(acts.len() > 35, "{acts:?}");
        let lines = table();
        let missing: Vec<_> = acts.iter().filter(|act| !lines.iter().any(|line| line.act == **act)).collect();
        assert!(missing.is_empty(), "these need lines: {missing:?}");
    }

    #[test]
    fn who_stands_higher_may_no_less() {
        use Caller::*;
        let more = [
            (Stranger, Viewer),
            (Viewer, Editor),
            (Editor, WorkspaceAdministrator),
            (Stranger, ProjectMember),
            (ByToken, Administrator),
            (OwnerByToken, Owner),
            (Reader, ByToken),
        ];
        for line in table() {
            // What is the caller's own has no owner beside them; keys are nobody's but their owner's.
            for (weaker, stronger) in more {
                let (weaker, stronger) = (line.verdict(weaker), line.verdict(stronger));
                let lasting = line.verdict(Reader) == Verdict::Yes && weaker == Verdict::Yes;
                assert!(weaker != Verdict::Yes || stronger == Verdict::Yes || lasting, "{line:?}");
            }
            let known = [ByToken, Administrator].map(|caller| line.verdict(caller));
            assert!(!known.contains(&Verdict::NotThere) || line.act.ends_with("Settings"), "{line:?}");
        }
    }

    #[test]
    fn what_is_private_is_there_for_members_only() {
        for act in ["ReadWorkspace", "ChangeWorkspace"] {
            assert_eq!(may(act, "private", Caller::Stranger), Verdict::NotThere);
        }
        assert_eq!(may("ReadWorkspace", "private", Caller::ProjectMember), Verdict::Yes);
        assert_eq!(may("ReadTask", "in a private workspace", Caller::ProjectMember), Verdict::NotThere);
        assert_eq!(may("ReadTask", "in a private workspace", Caller::Viewer), Verdict::Yes);
    }
}
