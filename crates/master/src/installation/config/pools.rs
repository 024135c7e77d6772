//! Resource pools as `resource_pools` names them, and the defaults of the tasks in each: the installation's
//! `task_container_defaults`, and the pool's laid over them.

use domain::config::secrets::Shown;
use domain::config::{layer, layered, unhonoured};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Config;

/// The pool that is there without a word, and as yet the only one.
pub(crate) const DEFAULT_POOL: &str = "default";

/// One resource pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Its name.
    pub pool_name: String,
    /// Under the configurations of its tasks, over those of the installation.
    #[serde(default)]
    pub task_container_defaults: Value,
}

impl Config {
    /// What is under the configuration of a task in this pool.
    #[must_use]
    pub fn defaults_in(&self, pool: &str) -> Value {
        let own = self.resource_pools.iter().find(|known| known.pool_name == pool);
        match own {
            Some(own) => layered(&self.task_container_defaults, own.task_container_defaults.clone()),
            None => self.task_container_defaults.clone(),
        }
    }

    /// Settings of the defaults that have no effect, for whoever reads the master's own log.
    #[must_use]
    pub fn unhonoured(&self) -> Vec<String> {
        let said = |place: String, defaults: &Value| {
            unhonoured(defaults)
                .into_iter()
                .map(move |setting| format!("{place}.{setting}"))
                .collect::<Vec<_>>()
        };
        let mut all = said("task_container_defaults".to_owned(), &self.task_container_defaults);
        for pool in &self.resource_pools {
            let place = format!("resource_pools: {}: task_container_defaults", pool.pool_name);
            all.extend(said(place, &pool.task_container_defaults));
        }
        all
    }

    /// Brings the defaults into our own form.
    pub(super) fn read_defaults(&mut self) {
        let pools = self.resource_pools.iter_mut().map(|pool| &mut pool.task_container_defaults);
        for defaults in pools.chain([&mut self.task_container_defaults]) {
            *defaults = layer::with_places(defaults.take());
        }
    }

    /// Checks pools and defaults.
    pub(super) fn check_defaults(&self) -> Result<(), String> {
        let check = |defaults: &Value| layer::check_defaults(defaults).map_err(|e| e.to_string());
        check(&self.task_container_defaults).map_err(|e| format!("task_container_defaults: {e}"))?;
        for (at, pool) in self.resource_pools.iter().enumerate() {
            let Pool { pool_name: name, task_container_defaults: defaults } = pool;
            if name != DEFAULT_POOL {
                return Err(format!(
                    "resource_pools: '{name}': there is no pool but '{DEFAULT_POOL}' as yet"
                ));
            }
            if self.resource_pools.iter().take(at).any(|other| other.pool_name == *name) {
                return Err(format!("resource_pools: '{name}' is there twice"));
            }
            let named = |e| format!("resource_pools: '{name}': task_container_defaults: {e}");
            check(defaults).map_err(named)?;
            check(&self.defaults_in(name)).map_err(named)?;
        }
        Ok(())
    }

    /// The pools as an administrator sees them: the one that is always there, and no secrets.
    pub(super) fn pools_for_display(&self) -> Value {
        if self.resource_pools.is_empty() {
            return json!([{"pool_name": DEFAULT_POOL}]);
        }
        let shown = self.resource_pools.iter().map(|pool| {
            let defaults = Shown::to_everybody(&pool.task_container_defaults).into_value();
            json!({"pool_name": pool.pool_name, "task_container_defaults": defaults})
        });
        shown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "master.yaml").expect("valid")
    }

    #[test]
    fn a_pools_defaults_lie_over_the_installations() {
        let config = config(
            "task_container_defaults: {work_dir: /opt, startup_hook: one, environment: {environment_variables: [A=1, B=1]}}\n\
             resource_pools: [{pool_name: default, task_container_defaults: {startup_hook: two, environment: {environment_variables: [B=2]}}}]\n",
        );
        let defaults = config.defaults_in("default");
        assert_eq!((&defaults["work_dir"], &defaults["startup_hook"]), (&json!("/opt"), &json!("two")));
        let variables = &defaults["environment"]["environment_variables"]["cpu"];
        assert_eq!(variables, &json!(["A=1", "B=1", "B=2"]));
        assert_eq!(config.defaults_in("other")["startup_hook"], "one");
    }

    #[test]
    fn determineds_form_of_defaults_is_taken() {
        let config = config(
            "task_container_defaults:\n  shm_size_bytes: 4294967296\n  environment_variables: [A=1]\n  image: {cpu: x}\n  \
             add_capabilities: [NET_ADMIN]\n  devices: [{host_path: /dev/x}]\n",
        );
        let defaults = config.defaults_in("default");
        assert_eq!(defaults["resources"]["shm_size"], json!(4_294_967_296_u64));
        assert_eq!(defaults["environment"]["environment_variables"], json!(["A=1"]));
        assert_eq!(
            config.unhonoured().iter().filter_map(|said| said.split(" has no").next()).collect::<Vec<_>>(),
            [
                "task_container_defaults.environment.image",
                "task_container_defaults.environment.add_capabilities",
                "task_container_defaults.resources.devices"
            ]
        );
    }

    #[test]
    fn d10_what_is_wrong_with_a_pool_is_said() {
        for (text, told) in [
            ("resource_pools: [{pool_name: gpu}]", "there is no pool but 'default'"),
            ("resource_pools: [{pool_name: default}, {pool_name: default}]", "'default' is there twice"),
            ("resource_pools: [{pool_name: default, priority: 1}]", "priority"),
            (
                "resource_pools: [{pool_name: default, task_container_defaults: {imgae: x}}]",
                "resource_pools: 'default': task_container_defaults: ",
            ),
            ("task_container_defaults: {resources: {shm_size: much}}", "resources.shm_size"),
            ("task_container_defaults: {shm_size_bytes: much}", "resources.shm_size"),
            ("task_container_defaults: {image: x, environment: {image: y}}", "image"),
            ("task_container_defaults: {startup_hook: [x]}", "startup_hook"),
        ] {
            let refused = Config::parse(text, "master.yaml").expect_err(text).to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn a10_secrets_of_pools_are_not_shown() {
        let config = config(
            "resource_pools: [{pool_name: default, task_container_defaults: {startup_hook: export K=a-pond, \
             environment: {environment_variables: [PROXY=a-lake]}}}]\n",
        );
        let shown = config.for_display();
        assert_eq!(shown["resource_pools"][0]["pool_name"], "default");
        let shown = shown.to_string();
        assert!(!shown.contains("pond") && !shown.contains("lake"), "{shown}");
    }
}
