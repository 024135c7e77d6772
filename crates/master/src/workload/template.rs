//! Templates: configurations that tasks are laid over.

use std::sync::Arc;

use domain::audit::{By, Entry, Who};
use domain::authz::{AddTemplate, ChangeTemplate, Permit, UseTemplate, Visible};
use domain::config::layer;
use domain::config::secrets::Layer;
use domain::place::{self, Template};
use serde_json::{Value, json};
pub use store::template::{Filter as TemplateFilter, Unread};
use store::{Store, StoreError, Tx};

use crate::config::Limits;
use crate::open::{Key as _, TemplateName};
use crate::system::Clock;
use crate::{Error, again, taken, workspace};

/// Templates.
#[derive(Clone)]
pub struct Templates {
    store: Store,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Templates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Templates")
    }
}

fn not_found(name: &str) -> Error {
    Error::NotFound(TemplateName::missing(&name.escape_debug()))
}

fn conflict(name: &str) -> String {
    format!("a template named '{name}' already exists")
}

fn duplicate(name: &str) -> impl FnOnce(StoreError) -> Error {
    move |error| match error {
        StoreError::Duplicate => Error::Conflict(conflict(name)),
        other => other.into(),
    }
}

/// A name that can stand in a path.
fn checked_name(raw: &str) -> Result<String, Error> {
    let name = place::name("template name", raw).map_err(|e| Error::Invalid(e.to_string()))?;
    if name.contains('/') || matches!(name.as_str(), "." | "..") {
        return Err(Error::Invalid("template name cannot contain '/', nor be '.' or '..'".to_owned()));
    }
    Ok(name)
}

/// `text` is JSON as it was sent.
fn checked_config(limits: &Limits, text: Option<&str>) -> Result<Layer, Error> {
    let config = limits.of_configs().read(text);
    let config = config.and_then(|config| layer::check_template(&config).map(|()| config));
    let config =
        config.map_err(|e| Error::Invalid(e.to_string().replace("command configuration", "template")))?;
    Ok(Layer::new(if config.is_null() { json!({}) } else { config }))
}

/// A template as an audit entry's target.
fn target(template: &Template) -> Who {
    Who::named("template", &template.name, &template.name)
}

/// The configuration may hold what isn't for everybody's eyes: its top-level keys stand for it.
fn facts(template: &Template) -> Value {
    let keys: Vec<&String> =
        template.config.unmasked().as_object().into_iter().flat_map(|map| map.keys()).collect();
    json!({ "name": template.name, "workspace": template.workspace, "sets": keys })
}

fn seen_in(scope: &Visible<Template>, filter: &TemplateFilter) -> TemplateFilter {
    TemplateFilter { seen_by: (!scope.everything()).then(|| scope.actor()), ..filter.clone() }
}

impl Templates {
    pub(crate) fn new(store: Store, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { store, limits, clock }
    }

    /// How many templates match.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn count(&self, scope: Visible<Template>, filter: &TemplateFilter) -> Result<i64, Error> {
        let filter = seen_in(&scope, filter);
        let mut conn = self.store.read().await?;
        Ok(store::template::count(&mut conn, &filter).await?)
    }

    /// Some of the templates that match: those that come after `last`.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn after(
        &self,
        scope: Visible<Template>,
        filter: &TemplateFilter,
        last: Option<&str>,
        skip: i64,
        limit: i64,
    ) -> Result<Vec<Unread>, Error> {
        let filter = seen_in(&scope, filter);
        let mut conn = self.store.read().await?;
        Ok(store::template::list(&mut conn, &filter, last, skip, limit).await?)
    }

    /// A name that nobody's template has.
    async fn with_free_name(&self, mut tx: Tx, by: &By, name: &str) -> Result<Tx, Error> {
        let now = self.clock.now();
        taken::may_ask(&mut tx, by, now).await?;
        let Some(other) = store::template::by_name(&mut tx, name).await? else { return Ok(tx) };
        Err(match workspace::seen(&mut tx, by, other.workspace).await? {
            true => Error::Conflict(conflict(name)),
            false => taken::unseen(&self.store, tx, by, now, conflict(name)).await,
        })
    }

    /// Makes a template; who makes it owns it.
    ///
    /// # Errors
    /// When name or configuration isn't allowed, the name is taken or the workspace archived.
    pub async fn create(
        &self,
        permit: &Permit<AddTemplate>,
        name: &str,
        config: Option<&str>,
    ) -> Result<Template, Error> {
        let name = checked_name(name)?;
        let config = checked_config(&self.limits, config)?;
        let tx = again::begin(&self.store, permit).await?;
        let mut tx = self.with_free_name(tx, permit.by(), &name).await?;
        let workspace = workspace::open(&mut tx, permit.target().workspace).await?;
        let owner = permit.actor().unwrap_or(workspace.owner);
        let (has, limit) = (store::template::count_of(&mut tx, owner).await?, self.limits.templates);
        if has >= i64::from(limit) {
            return Err(Error::Precondition(format!(
                "you have {has} templates, and {limit} is the limit: delete some"
            )));
        }
        let now = self.clock.now();
        let template = Template {
            name,
            config,
            workspace: workspace.id,
            owner,
            owner_name: String::new(),
            created_at: now,
            modified_at: now,
        };
        store::template::insert(&mut tx, &template).await.map_err(duplicate(&template.name))?;
        // With its owner's name.
        let made = store::template::by_name(&mut tx, &template.name).await?;
        let made = made.ok_or_else(|| not_found(&template.name))?;
        let entry = Entry::done(permit.by(), "template.create", target(&made)).made(facts(&made));
        tx.commit(&entry, now).await?;
        Ok(made)
    }

    /// Gives a template another configuration or name; what is `None` stays.
    ///
    /// # Errors
    /// When name or configuration isn't allowed, or the name is taken.
    pub async fn change(
        &self,
        permit: &Permit<ChangeTemplate>,
        name: Option<&str>,
        config: Option<&str>,
    ) -> Result<Template, Error> {
        let name = name.map(checked_name).transpose()?;
        let config = config.map(|text| checked_config(&self.limits, Some(text))).transpose()?;
        let old = &permit.target().0.name;
        let mut tx = again::begin(&self.store, permit).await?;
        let before = store::template::by_name(&mut tx, old).await?.ok_or_else(|| not_found(old))?;
        let now = self.clock.now();
        let after = Template {
            name: name.unwrap_or_else(|| before.name.clone()),
            config: config.unwrap_or_else(|| before.config.clone()),
            modified_at: now,
            ..before.clone()
        };
        if after.name != before.name {
            tx = self.with_free_name(tx, permit.by(), &after.name).await?;
        }
        store::template::update(&mut tx, old, &after).await.map_err(duplicate(&after.name))?;
        let mut entry = facts(&after);
        if after.config != before.config {
            // One that sets the same keys otherwise looks like no change.
            entry["configChanged"] = Value::Bool(true);
        }
        let entry =
            Entry::done(permit.by(), "template.update", target(&before)).changed(facts(&before), entry);
        tx.commit(&entry, now).await?;
        Ok(after)
    }

    /// Deletes a template. What was started with it goes on.
    ///
    /// # Errors
    /// When the database can't be reached.
    pub async fn delete(&self, permit: &Permit<ChangeTemplate>) -> Result<(), Error> {
        let name = &permit.target().0.name;
        let mut tx = again::begin(&self.store, permit).await?;
        let template = store::template::by_name(&mut tx, name).await?.ok_or_else(|| not_found(name))?;
        store::template::delete(&mut tx, name).await?;
        let entry = Entry::done(permit.by(), "template.delete", target(&template));
        tx.commit(&entry.removed(facts(&template)), self.clock.now()).await?;
        Ok(())
    }

    /// What a permitted template says to a command, to be laid under its configuration.
    #[must_use]
    pub fn for_command(permit: &Permit<UseTemplate>) -> Value {
        layer::for_command(permit.target().0.config.unmasked().clone())
    }
}
