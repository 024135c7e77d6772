//! Templates.

use domain::config::secrets::Layer;
use domain::id::{UserId, WorkspaceId};
use domain::place::Template;
use domain::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{on, row};
use crate::error::one_row;
use crate::workspace::{hidden_from, text};
use crate::{Conn, StoreError, Tx};

row!(TemplateRow {
    name: String,
    config: String,
    workspace_id: i64,
    owner_id: i64,
    username: String,
    created_at: i64,
    modified_at: i64,
});

const SELECT: &str =
    "SELECT t.name, t.config, t.workspace_id, t.owner_id, u.username, t.created_at, t.modified_at
    FROM templates t JOIN users u ON u.id = t.owner_id";

fn from_row(row: TemplateRow) -> Result<Template, StoreError> {
    let corrupt = |_| StoreError::Corrupt(format!("templates, name {}: config", row.name));
    let config = Layer::new(serde_json::from_str(&row.config).map_err(corrupt)?);
    Ok(Template {
        name: row.name,
        config,
        workspace: WorkspaceId(row.workspace_id),
        owner: UserId(row.owner_id),
        owner_name: row.username,
        created_at: Timestamp(row.created_at),
        modified_at: Timestamp(row.modified_at),
    })
}

/// Makes a template.
///
/// # Errors
/// [`StoreError::Duplicate`] when the name is taken.
pub async fn insert(tx: &mut Tx, template: &Template) -> Result<(), StoreError> {
    let sql = "INSERT INTO templates (name, config, workspace_id, owner_id, created_at, modified_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let config = template.config.unmasked().to_string();
    tx.adds(template.name.len() + config.len());
    on!(tx, |c| {
        sqlx::query(sql)
            .bind(&template.name)
            .bind(&config)
            .bind(template.workspace.0)
            .bind(template.owner.0)
            .bind(template.created_at.0)
            .bind(template.modified_at.0)
            .execute(c)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Writes the configuration and the name of the template that was called `name`.
///
/// # Errors
/// [`StoreError::Duplicate`] when the new name is taken.
pub async fn update(tx: &mut Tx, name: &str, template: &Template) -> Result<(), StoreError> {
    let sql = "UPDATE templates SET name = $2, config = $3, modified_at = $4 WHERE name = $1";
    let config = template.config.unmasked().to_string();
    tx.replaces(template.name.len() + config.len());
    let affected = on!(tx, |c| {
        sqlx::query(sql)
            .bind(name)
            .bind(&template.name)
            .bind(&config)
            .bind(template.modified_at.0)
            .execute(c)
            .await
            .map(|done| done.rows_affected())
    })?;
    one_row("a template", affected)
}

/// Takes a template away.
///
/// # Errors
/// See [`StoreError`].
pub async fn delete(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM templates WHERE name = $1";
    let affected =
        on!(tx, |c| sqlx::query(sql).bind(name).execute(c).await.map(|done| done.rows_affected()))?;
    one_row("a template", affected)
}

/// One template.
///
/// # Errors
/// See [`StoreError`].
pub async fn by_name(conn: &mut Conn, name: &str) -> Result<Option<Template>, StoreError> {
    let sql = format!("{SELECT} WHERE t.name = $1");
    let name = name.replace('\0', "\u{fffd}");
    let row: Option<TemplateRow> =
        on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(name).fetch_optional(c).await)?;
    row.map(from_row).transpose()
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
    /// Z first.
    pub descending: bool,
}

impl Filter {
    /// `$1` is the name.
    fn conditions(&self) -> String {
        let mut sql = "($1 = '' OR t.name = $1)".to_owned();
        if let Some(workspaces) = &self.workspaces {
            let list: Vec<String> = workspaces.iter().map(ToString::to_string).collect();
            let list = if list.is_empty() { "0".to_owned() } else { list.join(", ") };
            sql.push_str(&format!(" AND t.workspace_id IN ({list})"));
        }
        if let Some(viewer) = self.seen_by {
            sql.push_str(&format!(" AND t.workspace_id NOT IN ({})", hidden_from(viewer)));
        }
        sql
    }
}

/// How many templates match.
///
/// # Errors
/// See [`StoreError`].
pub async fn count(conn: &mut Conn, filter: &Filter) -> Result<i64, StoreError> {
    let sql = format!("SELECT COUNT(*) FROM templates t WHERE {}", filter.conditions());
    let name = text(filter.name.as_ref());
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(AssertSqlSafe(sql)).bind(name).fetch_one(c).await)?;
    Ok(count)
}

/// How many templates an account has.
///
/// # Errors
/// See [`StoreError`].
pub async fn count_of(conn: &mut Conn, owner: UserId) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) FROM templates WHERE owner_id = $1";
    let (count,): (i64,) = on!(conn, |c| sqlx::query_as(sql).bind(owner.0).fetch_one(c).await)?;
    Ok(count)
}

/// A template as it lies in the database: to read a long configuration takes a while, and many times its memory.
pub struct Unread(TemplateRow);

impl std::fmt::Debug for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unread")
    }
}

impl Unread {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How long its configuration is, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.config.len()
    }

    /// Reads it.
    ///
    /// # Errors
    /// When the configuration in the database is none.
    pub fn read(self) -> Result<Template, StoreError> {
        from_row(self.0)
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
    let (direction, compare) = if filter.descending { ("DESC", "<") } else { ("ASC", ">") };
    let conditions = filter.conditions();
    let behind = last.map(|_| format!("AND t.name {compare} $4")).unwrap_or_default();
    let sql = format!("{SELECT} WHERE {conditions} {behind} ORDER BY t.name {direction} LIMIT $2 OFFSET $3");
    let name = text(filter.name.as_ref());
    let rows: Vec<TemplateRow> = on!(conn, |c| {
        let query = sqlx::query_as(AssertSqlSafe(sql)).bind(name).bind(limit).bind(offset);
        match last {
            Some(last) => query.bind(last).fetch_all(c).await,
            None => query.fetch_all(c).await,
        }
    })?;
    Ok(rows.into_iter().map(Unread).collect())
}
