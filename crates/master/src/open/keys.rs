//! What names each kind of thing, and how it is found.

use std::convert::Infallible;
use std::fmt::{self, Display};
use std::str::FromStr;

use domain::authz::{ConfigPoliciesOf, Deletion};
use domain::config::policy::Workload;
use domain::group::{Assignment, GroupChange, NewGroup};
use domain::id::{GroupId, ProjectId, SessionId, TaskId, TokenId, UserId, WorkspaceId};
use domain::place::{NewWorkspace, Place, ProjectChange, ProjectPlace, Template, WorkspaceChange};
use domain::session::Session;
use domain::task::Task;
use domain::token::Token;
use domain::user::{NewUser, User, UserPatch};
use store::Conn;

use super::{Again, Changed, Key, Opened, Target};
use crate::{Error, account, group};

/// An account by its exact name.
#[derive(Debug, Clone)]
pub struct AccountName(pub String);

/// An account by its exact name, also when it is deleted: what it made goes by that.
#[derive(Debug, Clone)]
pub struct OwnerName(pub String);

/// A template by its name.
#[derive(Debug, Clone)]
pub struct TemplateName(pub String);

/// A project by its key (`Project::code`).
#[derive(Debug, Clone)]
pub struct ProjectCode(pub String);

/// A project in its owner's personal workspace, as Polyaxon's clients name it.
#[derive(Debug, Clone)]
pub struct ProjectOf {
    /// The owner's name.
    pub owner: String,
    /// The project's.
    pub name: String,
}

/// Configuration policies.
#[derive(Debug, Clone, Copy)]
pub struct PoliciesOf {
    /// In which workspace; `None` is everywhere.
    pub workspace: Option<WorkspaceId>,
    /// For which work.
    pub workload: Workload,
}

/// Names are shown so that they don't steer a terminal, and any text may be one.
macro_rules! names {
    ($($name:ident),*) => {$(
        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Display::fmt(&self.0.escape_debug(), f)
            }
        }

        impl FromStr for $name {
            type Err = Infallible;
            fn from_str(text: &str) -> Result<Self, Infallible> {
                Ok(Self(text.to_owned()))
            }
        }
    )*};
}

names!(AccountName, OwnerName, TemplateName, ProjectCode);

impl Display for ProjectOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner.escape_debug(), self.name.escape_debug())
    }
}

impl Display for PoliciesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.workspace.map_or(Ok(()), |workspace| Display::fmt(&workspace, f))
    }
}

impl Key for UserId {
    type Opens = User;

    fn missing(_: &dyn Display) -> String {
        account::NOT_FOUND.to_owned()
    }

    async fn find(&self, conn: &mut Conn, _: UserId) -> Result<Option<User>, Error> {
        Ok(store::user::by_id(conn, *self).await?)
    }
}

impl Opened for User {
    type Key = UserId;
    fn key(&self) -> UserId {
        self.id
    }
}

impl Key for AccountName {
    type Opens = User;

    fn missing(_: &dyn Display) -> String {
        account::NOT_FOUND.to_owned()
    }

    async fn find(&self, conn: &mut Conn, _: UserId) -> Result<Option<User>, Error> {
        Ok(store::user::by_username(conn, &self.0).await?)
    }
}

impl Key for OwnerName {
    type Opens = User;

    fn missing(_: &dyn Display) -> String {
        account::NOT_FOUND.to_owned()
    }

    async fn find(&self, conn: &mut Conn, _: UserId) -> Result<Option<User>, Error> {
        Ok(store::user::by_username_even_deleted(conn, &self.0).await?)
    }
}

impl Key for SessionId {
    type Opens = Session;

    fn missing(named: &dyn Display) -> String {
        format!("session '{named}' not found")
    }

    async fn find(&self, conn: &mut Conn, _: UserId) -> Result<Option<Session>, Error> {
        Ok(store::session::by_id(conn, *self).await?)
    }
}

impl Opened for Session {
    type Key = SessionId;
    fn key(&self) -> SessionId {
        self.id
    }
}

impl Key for TokenId {
    type Opens = Token;

    /// The braces are Determined's.
    fn missing(named: &dyn Display) -> String {
        format!("Token with id: {{{named}}} not found")
    }

    async fn find(&self, conn: &mut Conn, _: UserId) -> Result<Option<Token>, Error> {
        Ok(store::token::by_id(conn, *self).await?)
    }
}

impl Opened for Token {
    type Key = TokenId;
    fn key(&self) -> TokenId {
        self.id
    }
}

impl Key for WorkspaceId {
    type Opens = Place;

    fn missing(named: &dyn Display) -> String {
        format!("workspace '{named}' not found")
    }

    async fn find(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<Place>, Error> {
        Ok(store::workspace::place(conn, *self, viewer).await?)
    }
}

impl Opened for Place {
    type Key = WorkspaceId;
    fn key(&self) -> WorkspaceId {
        self.workspace
    }
}

impl Key for ProjectId {
    type Opens = ProjectPlace;

    fn missing(named: &dyn Display) -> String {
        format!("project '{named}' not found")
    }

    async fn find(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<ProjectPlace>, Error> {
        Ok(store::project::place(conn, *self, viewer).await?)
    }
}

impl Opened for ProjectPlace {
    type Key = ProjectId;
    fn key(&self) -> ProjectId {
        self.project
    }
}

impl Key for ProjectCode {
    type Opens = ProjectPlace;

    fn missing(named: &dyn Display) -> String {
        ProjectId::missing(named)
    }

    async fn find(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<ProjectPlace>, Error> {
        match store::project::by_key(conn, &self.0).await? {
            Some(id) => id.find(conn, viewer).await,
            None => Ok(None),
        }
    }
}

impl Key for ProjectOf {
    type Opens = ProjectPlace;

    fn missing(named: &dyn Display) -> String {
        ProjectId::missing(named)
    }

    async fn find(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<ProjectPlace>, Error> {
        let Some(owner) = store::user::by_username(conn, &self.owner).await? else { return Ok(None) };
        let Some(personal) = store::workspace::personal_of(conn, owner.id).await? else { return Ok(None) };
        match store::project::by_name(conn, personal.id, &self.name).await? {
            Some(id) => id.find(conn, viewer).await,
            None => Ok(None),
        }
    }
}

impl Key for TemplateName {
    type Opens = (Template, Place);

    fn missing(named: &dyn Display) -> String {
        format!("template '{named}' not found")
    }

    async fn find(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<(Template, Place)>, Error> {
        let Some(template) = store::template::by_name(conn, &self.0).await? else { return Ok(None) };
        let place = template.workspace.find(conn, viewer).await?;
        Ok(place.map(|place| (template, place)))
    }
}

impl Opened for (Template, Place) {
    type Key = TemplateName;
    fn key(&self) -> TemplateName {
        TemplateName(self.0.name.clone())
    }
}

impl Key for TaskId {
    type Opens = (Task, Place);

    fn missing(named: &dyn Display) -> String {
        format!("command '{named}' not found")
    }

    async fn find(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<(Task, Place)>, Error> {
        let Some(task) = store::task::by_id(conn, *self).await? else { return Ok(None) };
        let place = task.workspace.find(conn, viewer).await?;
        Ok(place.map(|place| (task, place)))
    }
}

impl Opened for (Task, Place) {
    type Key = TaskId;
    fn key(&self) -> TaskId {
        self.0.id
    }
}

impl Key for PoliciesOf {
    type Opens = ConfigPoliciesOf;

    fn missing(named: &dyn Display) -> String {
        WorkspaceId::missing(named)
    }

    async fn find(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<ConfigPoliciesOf>, Error> {
        let Self { workspace, workload } = *self;
        let Some(workspace) = workspace else { return Ok(Some(ConfigPoliciesOf { place: None, workload })) };
        let place = workspace.find(conn, viewer).await?;
        Ok(place.map(|place| ConfigPoliciesOf { place: Some(place), workload }))
    }
}

impl Opened for ConfigPoliciesOf {
    type Key = PoliciesOf;
    fn key(&self) -> PoliciesOf {
        PoliciesOf { workspace: self.place.as_ref().map(|place| place.workspace), workload: self.workload }
    }
}

/// Nothing in particular: an act of the installation's isn't hidden from anybody.
impl Target for () {
    fn missing(&self) -> String {
        String::new()
    }
}

/// An account's, or everybody's.
impl Target for Option<UserId> {
    fn missing(&self) -> String {
        account::NOT_FOUND.to_owned()
    }
}

/// What isn't there yet is hidden from nobody.
macro_rules! not_hidden {
    ($($target:ty),*) => {$(
        impl Target for $target {
            fn missing(&self) -> String {
                String::new()
            }
        }
    )*};
}

not_hidden!(NewUser, NewWorkspace, NewGroup, Assignment);

/// Things with what is to change of them.
macro_rules! changed {
    ($(($thing:ty, $change:ty)),*) => {$(
        impl Target for ($thing, $change) {
            fn missing(&self) -> String {
                self.0.missing()
            }
        }

        impl Changed for ($thing, $change) {
            type Thing = $thing;
            type Change = $change;

            fn new(thing: $thing, change: $change) -> Self {
                (thing, change)
            }

            fn into_thing(self) -> $thing {
                self.0
            }
        }

        impl Again for ($thing, $change) {
            async fn again(&self, conn: &mut Conn, viewer: UserId) -> Result<Option<Self>, Error> {
                let now = self.0.again(conn, viewer).await?;
                Ok(now.map(|now| (now, self.1.clone())))
            }
        }
    )*};
}

changed!((User, UserPatch), (Place, WorkspaceChange), (ProjectPlace, ProjectChange));

/// Everybody sees groups.
impl Target for GroupId {
    fn missing(&self) -> String {
        group::not_found(&self.to_string())
    }
}

impl Target for (GroupId, GroupChange) {
    fn missing(&self) -> String {
        self.0.missing()
    }
}

impl Target for Deletion {
    fn missing(&self) -> String {
        self.user.missing()
    }
}

/// What is an account's own.
impl Target for UserId {
    fn missing(&self) -> String {
        account::NOT_FOUND.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_and_what_names_nothing_are_told_of_in_the_same_words() {
        let place =
            Place { workspace: WorkspaceId(7), owner: UserId(1), private: true, role: None, guest: false };
        assert_eq!(place.missing(), "workspace '7' not found");
        assert_eq!(
            (place.clone(), WorkspaceChange::default()).missing(),
            WorkspaceId::missing(&WorkspaceId(7))
        );
        let of = ConfigPoliciesOf { place: Some(place), workload: Workload::Tasks };
        assert_eq!(of.missing(), WorkspaceId::missing(&7));
        assert_eq!(TokenId::missing(&TokenId(3)), "Token with id: {3} not found");
    }

    #[test]
    fn a_name_in_an_answer_steers_no_terminal() {
        let name: TemplateName = "a\u{1b}[2J".parse().expect("any text is a name");
        assert_eq!(TemplateName::missing(&name), "template 'a\\u{1b}[2J' not found");
    }

    #[test]
    fn a_change_is_asked_about_together_with_its_thing() {
        let place =
            Place { workspace: WorkspaceId(7), owner: UserId(1), private: true, role: None, guest: false };
        let target = <(Place, WorkspaceChange)>::new(place.clone(), WorkspaceChange::default());
        assert_eq!(target.1, WorkspaceChange::default(), "nothing, until it is known");
        assert_eq!(target.into_thing(), place);
    }
}
