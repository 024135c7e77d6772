//! `muster environment …`: the Python that this machine's tasks have. Works on the agent's own directory, whether or not an
//! agent runs there, so it is for whoever runs the agent.

use agent::environment::{Choice, Kept, Maker};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::output;
use crate::role;
use crate::table::{Format, Table, yes_no};

/// What can be done with it.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Show what there is, and which one tasks get
    Show {
        #[command(flatten)]
        place: role::Place,
        #[command(flatten)]
        format: Format,
    },
    /// Make it now, so that no task has to wait
    Build(Which),
    /// Remove what no running task has; it is made again when one needs it
    Remove(Which),
}

/// Of which agent.
#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    place: role::Place,
}

/// An environment as it is listed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    python: String,
    current: bool,
    in_use: bool,
    bytes: u64,
    path: String,
}

/// Carries out the verb that was given.
pub(crate) async fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Show { place, format } => show(&role::environment(&place)?, format),
        Verb::Build(which) => build(&role::environment(&which.place)?).await,
        Verb::Remove(which) => remove(&role::environment(&which.place)?),
    }
}

fn show(maker: &Maker, format: Format) -> Result<()> {
    let current = maker.key().ok();
    let row = |kept: Kept| Row {
        current: *maker.choice() == Choice::Managed && current.as_ref() == Some(&kept.key),
        name: kept.key,
        python: kept.python.release,
        in_use: kept.in_use,
        bytes: kept.bytes,
        path: kept.path.display().to_string(),
    };
    let rows: Vec<Row> = maker.kept()?.into_iter().map(row).collect();
    let mut table = Table::new(&["Name", "Python", "Current", "In Use", "Size", "Path"]);
    for row in &rows {
        let size = format!("{} MB", row.bytes / 1_000_000);
        table.row([
            row.name.clone(),
            row.python.clone(),
            yes_no(row.current),
            yes_no(row.in_use),
            size,
            row.path.clone(),
        ]);
    }
    table.print(format, &rows)?;
    let dir = maker.dir().display();
    match maker.choice() {
        Choice::Managed if rows.iter().any(|row| row.current) => {}
        Choice::Managed => output::note(&format!(
            "There is none yet: it is made in {dir} when a task first needs it, or by `muster environment build`"
        )),
        Choice::Prefix(prefix) => output::note(&format!("Tasks have the Python of {}", prefix.display())),
        Choice::Module(name) => output::note(&format!("Tasks have the Python of module {name}")),
        Choice::Off => output::note("Tasks have the machine's own Python (agent.task_environment: none)"),
    }
    Ok(())
}

async fn build(maker: &Maker) -> Result<()> {
    let python = maker.make(output::note).await?;
    output::line(&format!("Python {} for tasks is there", python.release))
}

fn remove(maker: &Maker) -> Result<()> {
    let removed = maker.remove()?;
    if removed.is_empty() {
        output::note("There is none");
    }
    let mut stays = 0;
    for (kept, removed) in &removed {
        match removed {
            Ok(()) => output::line(&format!("{} removed", kept.path.display()))?,
            Err(why) => {
                stays += 1;
                output::note(&format!("{} stays: {why}", kept.path.display()));
            }
        }
    }
    if stays > 0 {
        bail!("not all were removed: try again when those tasks have ended");
    }
    Ok(())
}
