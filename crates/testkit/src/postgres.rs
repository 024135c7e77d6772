//! A PostgreSQL database for one test, on the cluster that `cargo xtask test` started.
//!
//! Made and dropped with PostgreSQL's own programs: only `store` speaks SQL, and what a test does in the
//! database goes through it.

use std::process::{Command, Stdio};

use uuid::Uuid;

use crate::env;

/// An empty database under a name that no other test has; dropped with this value, whoever is connected.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// Makes the database. Panics if the cluster can't be reached: there is no test without it.
    pub async fn create() -> Self {
        // `template1` could be in somebody's use, which fails; nobody can connect to `template0`.
        Self::like("template0").await
    }

    /// Makes another one with all that this holds, in which nobody may be at work.
    pub async fn copy(&self) -> Self {
        Self::like(&self.name).await
    }

    async fn like(template: &str) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let output = tokio::process::Command::from(program("createdb"))
            .args([&format!("--template={template}"), &name])
            .output()
            .await
            .expect("createdb starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { name }
    }

    /// What a `db.url` setting takes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", env::postgres_url(), self.name)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Hundreds of them would fill the disk. If it fails, the cluster is thrown away soon enough, and a
        // panic here would hide the test's own.
        let _ = program("dropdb").args(["--force", "--if-exists", &self.name]).status();
    }
}

/// A program of PostgreSQL's, pointed at the cluster and deaf to the variables (`PGHOST` …) of somebody's
/// own database.
fn program(name: &str) -> Command {
    let mut command = Command::new(env::postgres_bin().join(name));
    for (variable, _) in std::env::vars_os() {
        if variable.to_str().is_some_and(|variable| variable.starts_with("PG")) {
            command.env_remove(variable);
        }
    }
    command.arg(format!("--maintenance-db={}/postgres", env::postgres_url()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;

    #[tokio::test]
    async fn databases_are_apart_and_dropped_while_in_use() {
        let (one, other) = tokio::join!(TestDatabase::create(), TestDatabase::create());
        assert_ne!(one.url(), other.url());

        let psql = |url: &str| {
            let mut command = Command::new(env::postgres_bin().join("psql"));
            command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", url]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
            command
        };
        let url = one.url();
        let mut connected = psql(&url).spawn().expect("psql starts");
        let mut input = connected.stdin.take().expect("psql reads");
        input.write_all(b"SELECT 'connected';\n").expect("psql takes a query");
        let mut line = String::new();
        let output = connected.stdout.take().expect("psql writes");
        BufReader::new(output).read_line(&mut line).expect("psql answers");
        assert_eq!(line, "connected\n");

        drop(one);
        drop(input);
        connected.wait().expect("psql ends");
        assert!(!psql(&url).args(["--command", "SELECT 1"]).status().expect("psql starts").success());
        assert!(psql(&other.url()).args(["--command", "SELECT 1"]).status().expect("psql starts").success());
    }
}
