//! `muster audit …`: what happened, who did it, and whether the log of it is untouched.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use api::audit::{AuditEntry, ListAudit, VerifiedAudit};
use clap::{Args, Subcommand};
use domain::audit::{Chain, Record};
use serde_json::Value;

use crate::auth::session::Session;
use crate::output;
use crate::table::{Format, Table, time};
use crate::target::Target;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List what happened last
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many, the newest first
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        limit: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Print what happened as lines of JSON, oldest first
    Export {
        #[command(flatten)]
        which: Which,
    },
    /// Check that nothing in the log was changed, taken out or put in
    Verify {
        /// An export of the whole log, in place of the master's own
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Digest that an earlier `verify` told: the log must still hold that entry as it was
        #[arg(long, value_name = "DIGEST")]
        head: Option<String>,
    },
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Done by this user
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// This action, or all of a noun: `user.create`, `user.`
    #[arg(long)]
    action: Option<String>,
    /// Done to this: `user 3`, `workspace 2`, `token 5`
    #[arg(long, value_name = "KIND ID")]
    target: Option<String>,
    /// Only what was done, or only what was refused
    #[arg(long, value_parser = ["done", "refused"])]
    result: Option<String>,
    /// Not earlier, such as 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Earlier, such as 2026-11-22T10:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Which {
    fn parameters(self) -> Vec<(&'static str, String)> {
        let all = [
            ("user", self.by),
            ("action", self.action),
            ("target", self.target),
            ("result", self.result),
            ("since", self.since),
            ("until", self.until),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb, target: &Target) -> Result<()> {
    match verb {
        Verb::List { which, limit, format } => {
            list(&mut Session::open(target).await?, which, limit, format).await
        }
        Verb::Export { which } => export(&mut Session::open(target).await?, which).await,
        Verb::Verify { file: Some(file), head } => report(&verify_file(&file, head.as_deref())?),
        Verb::Verify { file: None, head } => {
            let session = &mut Session::open(target).await?;
            let verified = session.call(async |client| client.verify_audit().await).await?;
            if let Some(head) = head.filter(|head| *head != verified.head) {
                holds(session, &head).await?;
            }
            report(&verified)
        }
    }
}

/// Entries a page.
const PAGE: usize = 500;

async fn list(session: &mut Session, which: Which, limit: usize, format: Format) -> Result<()> {
    let parameters = which.parameters();
    let mut entries: Vec<AuditEntry> = Vec::new();
    let mut before = None;
    while entries.len() < limit {
        let mut asked = parameters.clone();
        asked.push(("limit", (limit - entries.len()).min(PAGE).to_string()));
        asked.extend(before.map(|before: i64| ("before", before.to_string())));
        let page: ListAudit = session.call(async |client| client.audit(&asked).await).await?;
        entries.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let mut table = Table::new(&["No", "Time", "Who", "From", "Action", "On", "Result", "What"]);
    for entry in &entries {
        let record: Record = serde_json::from_str(entry.record.get())
            .context("an entry of the audit log can't be read: see `muster audit verify`")?;
        table.row([
            record.seq.to_string(),
            time(&record.at),
            if record.actor.name.is_empty() { record.actor.kind.clone() } else { record.actor.name.clone() },
            record.address.clone(),
            record.action.clone(),
            format!("{} {}", record.target.key(), record.target.name).trim_end().to_owned(),
            record.result.as_str().to_owned(),
            what(&record),
        ]);
    }
    table.print(format, &entries)
}

/// What changed, in a few words.
fn what(record: &Record) -> String {
    let show = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut parts: Vec<String> = Vec::new();
    let none = serde_json::Map::new();
    let (before, after) = (record.before.as_object(), record.after.as_object());
    for (key, value) in after.unwrap_or(&none) {
        match before.and_then(|before| before.get(key)) {
            Some(old) => parts.push(format!("{key}: {} -> {}", show(old), show(value))),
            None if value.is_null() => {}
            None => parts.push(format!("{key}: {}", show(value))),
        }
    }
    // What is there no more, as what was there (ME21).
    let gone = before.unwrap_or(&none).iter();
    for (key, value) in gone.filter(|(key, _)| !after.is_some_and(|after| after.contains_key(*key))) {
        match (key.as_str(), value) {
            (_, Value::Null) => {}
            ("left", names) => parts.push(format!("left: {}", show(names))),
            (key, value) => parts.push(format!("{key} was {}", show(value))),
        }
    }
    if !record.reason.is_empty() {
        parts.push(record.reason.clone());
    }
    // Why Muster itself did it.
    if record.actor.kind == "system" && !record.via.is_empty() {
        parts.push(format!("because of {}", record.via));
    }
    parts.join(", ")
}

async fn export(session: &mut Session, which: Which) -> Result<()> {
    let parameters = which.parameters();
    // The first request tells whether one may; what follows isn't begun again.
    let one = [("limit", "1".to_owned())];
    session.call(async |client| client.audit(&one).await).await?;
    session.client().export_audit::<anyhow::Error>(&parameters, output::bytes).await
}

/// Whether the master's log holds an entry with this digest.
async fn holds(session: &mut Session, head: &str) -> Result<()> {
    let mut rest = Vec::new();
    let mut found = false;
    let quoted = format!("\"hash\":\"{head}\"");
    session
        .client()
        .export_audit::<anyhow::Error>(&[], |piece| {
            rest.extend_from_slice(piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                found |= String::from_utf8_lossy(&line).contains(&quoted);
            }
            Ok(())
        })
        .await?;
    if found {
        return Ok(());
    }
    bail!(
        "the audit log no longer holds the entry with digest {head}: it was changed or cut since, or is one of those that \
         were removed because of their age"
    )
}

fn verify_file(file: &Path, head: Option<&str>) -> Result<VerifiedAudit> {
    let problem = || format!("can't read {}", file.display());
    let lines: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).with_context(problem)?))
    };
    let (mut chain, mut seen) = (Chain::default(), false);
    let mut broken = None;
    for line in lines.lines() {
        let line = line.with_context(problem)?;
        let entry: AuditEntry = serde_json::from_str(&line)
            .with_context(|| format!("line {} of {} is no entry", chain.count + 1, file.display()))?;
        if let Err(found) = chain.follow(entry.record.get(), &entry.hash) {
            broken = Some(found.to_string());
            break;
        }
        seen |= head == Some(chain.head.as_str());
    }
    broken = broken.or_else(|| chain.whole().err().map(|found| found.to_string()));
    if let Some(head) = head.filter(|_| !seen && broken.is_none()) {
        bail!("{} does not hold the entry with digest {head}", file.display());
    }
    let removed = chain.removed();
    Ok(VerifiedAudit { count: chain.count, head: chain.head, removed, broken })
}

fn report(verified: &VerifiedAudit) -> Result<()> {
    let VerifiedAudit { count, head, removed, broken } = verified;
    let there = count - removed;
    if let Some(broken) = broken {
        bail!("the audit log is broken: {broken}. {there} entries before that are sound, up to {head}");
    }
    output::line(&format!("{there} entries, nothing changed. Digest of the last one:\n{head}"))?;
    if *removed > 0 {
        output::note(&format!(
            "Entries 1 to {removed} were removed, as old as they are kept (retention.audit_days); an entry says so."
        ));
    }
    output::note(
        "Keep the digest elsewhere: `muster audit verify --head DIGEST` then also shows a log that was cut.",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::audit::{By, Entry, Who};
    use domain::time::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn me21_what_was_taken_away_is_told() {
        let told = |entry: Entry| {
            let mut record = Record::of(&entry, 1, Timestamp(0), "");
            // As Muster itself has them; only the master can act as that.
            record.actor.kind = "system".to_owned();
            record.via = "retention.log_days".to_owned();
            what(&record)
        };
        let by = By::Anonymous { address: None };
        let entry = || Entry::done(&by, "task.remove_log", Who::named("task", &"1", ""));
        let removed = entry().removed(json!({"ids": ["a"], "owner": "bob"}));
        assert_eq!(told(removed), r#"ids was ["a"], owner was bob, because of retention.log_days"#);
        let changed = entry().changed(json!({"left": ["alice"], "admin": false}), json!({"admin": true}));
        assert_eq!(told(changed), r#"admin: false -> true, left: ["alice"], because of retention.log_days"#);
    }
}
