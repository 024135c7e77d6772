//! Templates.

use domain::config::secrets::Layer;
use domain::id::{UserId, WorkspaceId};
use domain::place::Template;

use crate::sql::{Sql, sql};
use crate::table::{Table as _, table};
use crate::{Conn, StoreError, Tx, visible};

table! {
    templates t => Template {
        name, config, workspace: [workspace_id], owner: [owner_id], created_at, modified_at,
    }
    reads "JOIN users u ON u.id = t.owner_id" { owner_name: "u.username" }
}

/// Makes a template.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn insert(tx: &mut Tx, template: &Template) -> Result<(), StoreError> {
    template.insert(tx, &[]).await
}

/// Writes the configuration and the name of the template that was called `name`.
///
/// # Errors
/// [`StoreError::Duplicate`] when the new name is taken.
pub async fn update(tx: &mut Tx, name: &str, template: &Template) -> Result<(), StoreError> {
    let Template { name: new, config, modified_at, .. } = template;
    tx.replaces(new.len() + config.unmasked().to_string().len());
    let sql = "UPDATE templates SET name = ?, config = ?, modified_at = ? WHERE name = ?";
    sql!(sql, new, config, modified_at, name).run_once(tx, "a template").await
}

/// Takes a template away.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    sql!("DELETE FROM templates WHERE name = ?", name).run_once(tx, "a template").await
}

/// One template.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Template>, StoreError> {
    Template::select(sql!("t.name = ?", name)).first(conn).await
}

/// Which templates.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Exactly this name.
    pub name: Option<String>,
    /// Only those in these workspaces; `None` is all.
    pub workspaces: Option<Vec<WorkspaceId>>,
    /// Without those that this account may not see.
    pub seen_by: Option<UserId>,
    /// Last ones first.
    pub descending: bool,
}

impl Filter {
    fn conditions(&self) -> Sql {
        let mut all = Sql::default();
        all.and_named("t.name = ?", self.name.as_ref());
        self.workspaces.iter().for_each(|ids| all.and(Sql::one_of("t.workspace_id", ids)));
        self.seen_by.iter().for_each(|actor| all.and(visible::templates(*actor)));
        all
    }
}

/// How many templates match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    Template::count(conn, filter.conditions()).await
}

/// How many templates an account has.
///
/// # Errors
/// See [`StoreError`].
pub async fn count_of(conn: &mut Conn, owner: UserId) -> Result<i64, StoreError> {
    Template::count(conn, sql!("t.owner_id = ?", owner)).await
}

/// A template as it lies in the database: to read a long configuration takes a while, and many times its memory.
#[derive(Debug)]
pub struct Unread {
    /// With nothing for a configuration.
    template: Template,
    config: Text,
}

struct Text(String);

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Unread {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.template.name
    }

    /// How long its configuration is, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.config.0.len()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the configuration in the database is none.
    pub fn read(self) -> Result<Template, StoreError> {
        let name = self.template.name.clone();
        let corrupt = |_| StoreError::Corrupt(format!("templates, name {name}: config"));
        let config = serde_json::from_str(&self.config.0).map_err(corrupt)?;
        Ok(Template { config: Layer::new(config), ..self.template })
    }
}

/// Some of the templates that match, by name: those that come after `last`.
///
/// # Errors
/// See [`StoreError`].
pub async fn list(
    conn: &mut Conn,
    filter: &Filter,
    last: Option<&str>,
    offset: i64,
    limit: i64,
) -> Result<Vec<Unread>, StoreError> {
    let (behind, order) = match filter.descending {
        false => ("t.name > ?", " ORDER BY t.name ASC"),
        true => ("t.name < ?", " ORDER BY t.name DESC"),
    };
    let mut conditions = filter.conditions();
    conditions.and_if(behind, last);
    let sql = Sql::from("SELECT t.config, ").with(Sql::from(Template::SHOWN).replaced("t.config", "'{}'"));
    let sql = sql.with(Template::FROM).filtered(conditions).with(order);
    let rows: Vec<(String, Template)> = sql.with(sql!(" LIMIT ? OFFSET ?", limit, offset)).all(conn).await?;
    Ok(rows.into_iter().map(|(config, template)| Unread { template, config: Text(config) }).collect())
}
