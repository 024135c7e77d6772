//! The Commands tab (P15, P16, D1) and the page of one command.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::authz::{ChangeTask, ReadTask, Visible};
use domain::config::secrets::Shown;
use domain::kind::Kind;
use domain::task::{Ending, State as TaskState, Task, signal_name};
use domain::time::Timestamp;
use master::task::{TaskFilter, Wait};
use master::{Error, Master};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::App;
use crate::access::Access;
use crate::extract::Params;
use crate::open::open;
use crate::respond::PageFailure;
use crate::table::Endpoint;
use crate::ui::display::{ago, badge, capitalized, command_line, lasting, moment};
use crate::ui::page::Page;
use crate::ui::shell::{Shell, render};

pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/commands", Access::Page, list).grows(),
        Endpoint::get("/commands/{task}", Access::Page, show).grows().asks::<ReadTask>(),
        Endpoint::post("/commands/{task}/kill", Access::Page, kill).ends().asks::<ChangeTask>(),
    ]
}

/// Rows of one page.
const ROWS: i64 = 50;

/// Longest search text, in characters.
const SEARCH: usize = 200;

/// What the list shows; all of it is in the address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    mine: bool,
    search: String,
    part: Part,
}

/// Which part of the list, by the numbers of tasks at its ends: whatever comes and goes, it costs the same and moves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Newest,
    /// Those that came before this one.
    Before(i64),
    /// Those that came after it.
    After(i64),
}

impl View {
    /// A form sends `mine=0`, and `mine=1` behind it when the box is ticked; the last one counts.
    fn read(params: &Params) -> Result<Self, PageFailure> {
        Ok(Self {
            mine: params.all("mine").last() != Some("0"),
            search: params.get("q").unwrap_or("").trim().chars().take(SEARCH).collect(),
            part: match (params.parse("before")?, params.parse("after")?) {
                (Some(task), _) => Part::Before(task),
                (None, Some(task)) => Part::After(task),
                (None, None) => Part::Newest,
            },
        })
    }

    /// Its one address.
    fn url(&self) -> String {
        let mut query = Vec::new();
        if !self.mine {
            query.push("mine=0".to_owned());
        }
        if !self.search.is_empty() {
            query.push(format!("q={}", utf8_percent_encode(&self.search, NON_ALPHANUMERIC)));
        }
        match self.part {
            Part::Newest => {}
            Part::Before(task) => query.push(format!("before={task}")),
            Part::After(task) => query.push(format!("after={task}")),
        }
        if query.is_empty() { "/commands".to_owned() } else { format!("/commands?{}", query.join("&")) }
    }

    fn at(&self, part: Part) -> String {
        Self { part, ..self.clone() }.url()
    }

    fn everyones(&self) -> String {
        Self { mine: false, part: Part::Newest, ..self.clone() }.url()
    }

    fn unsearched(&self) -> String {
        Self { search: String::new(), part: Part::Newest, ..self.clone() }.url()
    }
}

/// The list, as a page or as its table alone.
#[derive(Template)]
#[template(path = "command/list.html", blocks = ["table"])]
struct ListPage {
    shell: Shell,
    view: View,
    rows: Vec<Row>,
    /// Addresses of the parts next to this one, where there is something.
    newer: Option<String>,
    older: Option<String>,
}

/// One line of the table.
struct Row {
    id: String,
    short_id: String,
    description: String,
    owner: String,
    owner_name: String,
    state: (&'static str, &'static str),
    waits_for: Option<String>,
    exit_code: Option<i32>,
    started: Option<(String, String)>,
    agent: Option<String>,
    slots: u32,
}

/// The name that people call a task's owner by.
fn owner(task: &Task) -> String {
    let name = if task.owner_display_name.is_empty() { &task.owner_name } else { &task.owner_display_name };
    name.clone()
}

/// Why it waits, and which place it has in the queue.
fn waits_for(master: &Master, task: &Task) -> Option<String> {
    let Wait { why, ahead } = master.tasks.waits_for(task)?;
    let why = capitalized(&why);
    Some(match ahead {
        0 => format!("{why}; it is next in the queue"),
        ahead => format!("{why}; {ahead} before it in the queue"),
    })
}

/// The agents that it has, or had last.
fn agents(task: &Task) -> Option<String> {
    let agents: Vec<&str> = task.latest.phase.parts().map(|part| part.agent.as_str()).collect();
    (!agents.is_empty()).then(|| agents.join(", "))
}

impl Row {
    fn of(master: &Master, now: Timestamp, task: &Task) -> Self {
        let id = task.id.to_string();
        Self {
            short_id: id.chars().take(8).collect(),
            id,
            description: task.description.to_string(),
            owner: owner(task),
            owner_name: task.owner_name.clone(),
            state: badge(task),
            waits_for: waits_for(master, task),
            exit_code: task.ending().and_then(|ending| ending.exit_code),
            started: task.latest.phase.since().map(|at| (ago(now, at), moment(at))),
            agent: agents(task),
            slots: task.slots,
        }
    }
}

pub(crate) async fn list(
    State(app): State<App>,
    page: Page,
    params: Params,
) -> Result<Response, PageFailure> {
    let mut view = View::read(&params)?;
    let filter = TaskFilter {
        kind: Kind::Command,
        owners: view.mine.then(|| vec![page.caller.actor.user]),
        workspace: None,
        seen_by: None,
        text: Some(view.search.clone()).filter(|text| !text.is_empty()),
        id_prefix: None,
        ascending: false,
        after: None,
    };
    let scope = Visible::to(&page.caller.actor);
    let found = found(&app.master, scope, &filter, &mut view.part).await?;
    let now = app.master.clock.now();
    let rows = found.tasks.iter().map(|task| Row::of(&app.master, now, task)).collect();
    let (first, last) = (found.tasks.first(), found.tasks.last());
    let newer = first.filter(|_| found.newer).map(|task| view.at(Part::After(task.seq)));
    let older = last.filter(|_| found.older).map(|task| view.at(Part::Before(task.seq)));
    let list = ListPage { shell: page.shell, view, rows, newer, older };
    if page.fragment {
        // The address follows what is shown.
        return Ok(([("hx-replace-url", list.view.url())], render(&list.as_table())?).into_response());
    }
    Ok(render(&list)?.into_response())
}

/// Part of the list, and whether there is more on either side.
struct Found {
    tasks: Vec<Task>,
    newer: bool,
    older: bool,
}

/// Reads a part; one that holds nothing, or would be less than a page at the beginning, is the newest.
async fn found(
    master: &Master,
    scope: Visible<Task>,
    filter: &TaskFilter,
    part: &mut Part,
) -> Result<Found, Error> {
    let (ascending, last) = match *part {
        Part::Newest => (false, None),
        Part::Before(task) => (false, Some(task)),
        Part::After(task) => (true, Some(task)),
    };
    let ordered = TaskFilter { ascending, ..filter.clone() };
    let mut tasks = master.tasks.after(scope, &ordered, last, 0, ROWS + 1).await?;
    let more = i64::try_from(tasks.len()).is_ok_and(|count| count > ROWS);
    let moved = *part != Part::Newest;
    if moved && if ascending { !more } else { tasks.is_empty() } {
        *part = Part::Newest;
        return Box::pin(found(master, scope, filter, part)).await;
    }
    if more {
        tasks.pop();
    }
    if ascending {
        tasks.reverse();
    }
    Ok(Found { tasks, newer: moved, older: ascending || more })
}

/// A command, as a page or as its facts alone.
#[derive(Template)]
#[template(path = "command/show.html", blocks = ["facts"])]
struct ShowPage {
    shell: Shell,
    id: String,
    short_id: String,
    description: String,
    owner: String,
    owner_name: String,
    state: (&'static str, &'static str),
    over: bool,
    may_kill: bool,
    failure: Option<String>,
    facts: Vec<Fact>,
    command_line: String,
    config: String,
}

pub(crate) async fn show(
    State(app): State<App>,
    page: Page,
    Path(task): Path<String>,
) -> Result<Response, PageFailure> {
    let permit = open::<ReadTask>(&app, &page.caller, &task).await?;
    let config = app.master.tasks.config(&permit).await?;
    let may_change = permit.covers::<ChangeTask>();
    let (task, _) = permit.into_target();
    let over = task.state() == TaskState::Terminated;
    let id = task.id.to_string();
    let shown = ShowPage {
        shell: page.shell,
        short_id: id.chars().take(8).collect(),
        id,
        description: task.description.to_string(),
        owner: owner(&task),
        owner_name: task.owner_name.clone(),
        state: badge(&task),
        over,
        failure: failure(&task),
        facts: facts(&app.master, &task),
        command_line: command_line(&config.entrypoint()),
        config: config_text(&config)?,
        may_kill: !over && may_change,
    };
    let html = if page.fragment { render(&shown.as_facts())? } else { render(&shown)? };
    Ok(html.into_response())
}

/// Something known of a task.
struct Fact {
    name: &'static str,
    value: String,
    remark: Option<String>,
}

/// What is known of a task, in the order in which it is asked for.
fn facts(master: &Master, task: &Task) -> Vec<Fact> {
    let now = master.clock.now();
    let ending = task.ending();
    let plain = |name, value: Option<String>| value.map(|value| Fact { name, value, remark: None });
    let time = |name, at: Option<Timestamp>| {
        at.map(|at| Fact { name, value: moment(at), remark: Some(ago(now, at)) })
    };
    let code = |ending: &Ending| match (ending.exit_code, ending.exit_signal) {
        (Some(code), Some(signal)) => format!("{code}, {}", signal_name(signal)),
        (Some(code), None) => code.to_string(),
        (None, _) => "none".to_owned(),
    };
    let lasted =
        task.latest.phase.since().map(|at| lasting(ending.map_or(now, |ending| ending.at).since(at)));
    let all = [
        plain("Waiting", waits_for(master, task)),
        plain("Exit status", ending.map(code)),
        plain(if ending.is_some() { "Ran for" } else { "Running for" }, lasted),
        time("Queued", Some(task.created_at)),
        time("Started", task.latest.phase.since()),
        time("Ended", ending.map(|ending| ending.at)),
        plain("Runs as", Some(task.identity.to_string())),
        plain("Agent", agents(task)),
        plain("Resource pool", Some(task.pool.to_string())),
        plain("Slots", Some(task.slots.to_string())),
        plain("Priority", Some(task.priority.to_string())),
        plain("Files sent along", task.has_context.then(|| "yes".to_owned())),
    ];
    all.into_iter().flatten().collect()
}

/// Why a task failed, without the words that are there for Determined's clients.
fn failure(task: &Task) -> Option<String> {
    let ending = task.ending().filter(|_| badge(task).0 == "failed")?;
    let reason = ending.reason.as_str();
    let reason = reason.strip_prefix("resources failed with non-zero exit code: ").unwrap_or(reason);
    match reason.strip_prefix("container failed with non-zero exit code: ") {
        Some(code) => Some(format!(
            "Process failed ({})",
            code.split_once(" (").map_or(code, |(_, code)| code.trim_end_matches(')'))
        )),
        None => Some(capitalized(reason)),
    }
}

fn config_text(config: &Shown) -> Result<String, Error> {
    let text = serde_saphyr::to_string(config);
    text.map_err(|e| Error::Invalid(format!("the configuration can't be shown: {e}")))
}

pub(crate) async fn kill(
    State(app): State<App>,
    page: Page,
    Path(task): Path<String>,
) -> Result<Redirect, PageFailure> {
    let permit = open::<ChangeTask>(&app, &page.caller, &task).await?;
    let task = app.master.tasks.kill(permit).await?;
    Ok(Redirect::to(&format!("/commands/{}", task.id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(mine: bool, search: &str, part: Part) -> View {
        View { mine, search: search.to_owned(), part }
    }

    #[test]
    fn p16_the_view_is_in_the_address() {
        assert_eq!(view(true, "", Part::Newest).url(), "/commands");
        let before = view(false, "a b&c", Part::Before(3));
        assert_eq!(before.url(), "/commands?mine=0&q=a%20b%26c&before=3");
        assert_eq!(view(true, "x", Part::After(9)).url(), "/commands?q=x&after=9");
        assert_eq!(view(true, "x", Part::Before(9)).everyones(), "/commands?mine=0&q=x");
        assert_eq!(view(false, "x", Part::Before(9)).unsearched(), "/commands?mine=0");
    }

    #[test]
    fn r05_a_description_is_text() {
        let row = Row {
            id: "1".to_owned(),
            short_id: "1".to_owned(),
            description: "<img src=x onerror=alert(1)>".to_owned(),
            owner: "a\"b".to_owned(),
            owner_name: "a\"b".to_owned(),
            state: ("queued", "Queued"),
            waits_for: Some("<b>".to_owned()),
            exit_code: None,
            started: None,
            agent: None,
            slots: 1,
        };
        let page = ListPage {
            shell: Shell::default(),
            view: view(true, "\"><b>", Part::Newest),
            rows: vec![row],
            newer: None,
            older: None,
        };
        let html = page.render().expect("html");
        assert!(!html.contains("<img src=x") && !html.contains("<b>") && !html.contains("a\"b"), "{html}");
    }
}
