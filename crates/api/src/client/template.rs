//! Templates.

use serde_json::Value;

use super::{Client, Result, encoded, query};
use crate::template::{ListTemplates, NewTemplate, Template, TemplateResponse};

/// Rows asked for at once.
const PAGE: i64 = 1000;

impl Client {
    /// All templates that the caller sees.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn templates(&self) -> Result<Vec<Template>> {
        let mut templates = Vec::new();
        loop {
            let parameters = [("offset", templates.len().to_string()), ("limit", PAGE.to_string())];
            let page: ListTemplates = self.get(&format!("/api/v1/templates{}", query(parameters))).await?;
            let last = page.templates.is_empty() || page.pagination.end_index >= page.pagination.total;
            templates.extend(page.templates);
            if last {
                return Ok(templates);
            }
        }
    }

    /// One template.
    ///
    /// # Errors
    /// 404 when there is none for the caller.
    pub async fn template(&self, name: &str) -> Result<Template> {
        let path = format!("/api/v1/templates/{}", encoded(name));
        self.get::<TemplateResponse>(&path).await.map(|answer| answer.template)
    }

    /// Makes a template, or gives it another configuration.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn put_template(&self, name: &str, template: &NewTemplate) -> Result<Template> {
        let path = format!("/api/v1/templates/{}", encoded(name));
        self.put::<_, TemplateResponse>(&path, template).await.map(|answer| answer.template)
    }

    /// Deletes a template.
    ///
    /// # Errors
    /// What went wrong, on the way or there.
    pub async fn delete_template(&self, name: &str) -> Result<()> {
        self.delete::<Value>(&format!("/api/v1/templates/{}", encoded(name))).await.map(drop)
    }
}
