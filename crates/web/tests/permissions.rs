//! The permission matrix (R30). Who may do what is the policy's to say, which is asked without a server: `docs/permissions.md` is
//! made from that and from the table of routes. Here every route is tried by callers of each kind, and answers what the policy
//! says. A new route fails here until it has a sample in `samples`; `UPDATE_GOLDEN=1 cargo xtask test -- -p web -E 'test(r30)'`
//! writes the document anew.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use domain::authz::table;
use futures_util::future::join_all;
use serde_json::json;
use testkit::{Database, Method, on_sqlite};
use web::{Access, Row};

#[path = "permissions/callers.rs"]
mod callers;
#[path = "permissions/costs.rs"]
mod costs;
#[path = "permissions/cut.rs"]
mod cut;
#[path = "permissions/late.rs"]
mod late;
#[path = "permissions/samples.rs"]
mod samples;
#[path = "permissions/world.rs"]
mod world;

use callers::{Answered, Caller, expected};
use samples::{NOUNS, Sample};
use world::{World, request_to, shown_by};

on_sqlite!(
    r30_every_route_answers_what_the_policy_says,
    r30_the_table_of_permissions_is_what_is_written,
    r30_every_route_has_a_sample_that_asks_what_its_row_says,
    a_token_for_reading_reads_and_changes_nothing_on_any_route,
);

/// Samples with their rows.
fn with_rows(
    rows: &[Row],
    samples: impl IntoIterator<Item = &'static Sample>,
) -> Vec<(&Row, &'static Sample)> {
    let row_of =
        |sample: &'static Sample| rows.iter().find(|row| sample.is_for(row)).map(|row| (row, sample));
    samples.into_iter().filter_map(row_of).collect()
}

/// Who tries a sample: of those who are answered the same the weakest and the strongest, for they are next to who is answered
/// something else; and once in each world, for each kind of route, everybody.
fn callers(row: &Row, sample: &Sample, met: &mut HashSet<Access>) -> Vec<Caller> {
    let everybody = met.insert(row.access);
    let answered = |caller: &Caller| expected(row, sample, *caller);
    let ends = |caller: &Caller| {
        let alike = || Caller::ALL.iter().filter(|other| answered(other) == answered(caller));
        alike().next() == Some(caller) || alike().next_back() == Some(caller)
    };
    Caller::ALL.into_iter().filter(|caller| everybody || ends(caller)).collect()
}

async fn try_sample(world: &mut World, row: &Row, sample: &Sample, met: &mut HashSet<Access>) -> usize {
    let callers = callers(row, sample, met);
    let tried = callers.len();
    // Who is refused, and who only looks, changes nothing for the others.
    let shares = |caller: &Caller| row.method == Method::GET || expected(row, sample, *caller).refuses();
    let (together, alone): (Vec<_>, Vec<_>) = callers.into_iter().partition(shares);
    let right = |caller: Caller, answer: testkit::Response| {
        let (is, should) = (Answered::of(row, &answer), expected(row, sample, caller));
        let what = format!("{} {}, {}, as {caller:?}", row.method, row.path, sample.what);
        assert!(
            is == should,
            "{what}: {should:?} by the policy, but {is:?}: {} {}",
            answer.status,
            answer.text()
        );
    };
    if !together.is_empty() {
        let things = world.filled(sample).await;
        for caller in together {
            right(caller, world.ask(caller, row, sample, &things).await);
        }
    }
    for caller in alone {
        let usual = if sample.spoils { Some(world.other_cast().await) } else { None };
        let things = world.filled(sample).await;
        right(caller, world.ask(caller, row, sample, &things).await);
        if let Some(usual) = usual {
            world.cast = usual;
        }
    }
    tried
}

async fn r30_every_route_answers_what_the_policy_says(_: Database) {
    let worlds = NOUNS.iter().map(|noun| async move {
        let mut world = World::make().await;
        let (rows, mut tried, mut met) = (web::rows(), 0, HashSet::new());
        for (row, sample) in with_rows(&rows, *noun) {
            tried += try_sample(&mut world, row, sample, &mut met).await;
        }
        world.agent.disconnect();
        tried
    });
    let tried: usize = join_all(worlds).await.into_iter().sum();
    assert!(tried > 1000, "{tried} tried");
}

fn access(row: &Row) -> &'static str {
    match row.access {
        Access::Public => "anybody",
        Access::User => "users",
        Access::UserOrTask => "users, tasks",
        Access::Agent => "agents",
        Access::Page => "web page",
        Access::Polyaxon => "users, by Polyaxon's client",
    }
}

/// The reviewed table.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/permissions.md")
}

const HEAD: &str = "# Who may do what

Made from the policy (`domain::authz::table`) and the table of routes by `crates/web/tests/permissions.rs`, which also tries every
route as callers of each kind and holds the answers against this.

A request meets the guard first. It lets **anybody** in where a route is for anybody. Where it is for **users**, it wants a session
or an access token of an active account: who shows none, or one that is over, is told to log in, and so is whose account was
deactivated; a pending account and a task's token are refused. A task's token is good for its own task where a route is for **tasks** too.
Agents show no credential in a request; they prove their key on the connection itself. A token for reading changes nothing. Then the
policy is asked, as below; a route that asks nothing shows everybody what they may see, or what is their own.

## What the policy says

*Owner* is the account, or the owner of the task, workspace or project, that is asked about; *stranger* is any other user. *Project member*
is an editor of the project alone, and in nothing else of its workspace. Where an *access token* is told **no** and its account **yes**, what is
done would outlive the token, and no access token does that. **yes**: it is done. **no**: refused. **not there**: for this caller it
doesn't exist.

";

const ROUTES: &str = "
## What each route asks

What it *asks* it asks whenever it is done; what it *may ask* depends on what was sent. The first refusal is told.

| method | path | for | asks | may ask |
|---|---|---|---|---|
";

fn written(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    let callers = table::Caller::ALL.map(table::Caller::as_str);
    let _ = writeln!(text, "| act | on | {} |", callers.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(2 + callers.len()));
    for line in table::table() {
        let verdicts = line.verdicts.map(table::Verdict::as_str).join(" | ");
        let _ = writeln!(text, "| {} | {} | {verdicts} |", line.act, line.situation);
    }
    text.push_str(ROUTES);
    for row in rows {
        let (method, path, asks, may) = (&row.method, row.path, row.asks.join(", "), row.may_ask.join(", "));
        let _ = writeln!(text, "| {method} | `{path}` | {} | {asks} | {may} |", access(row));
    }
    text
}

async fn r30_the_table_of_permissions_is_what_is_written(_: Database) {
    let table = written(&web::rows());
    let file = golden();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &table).expect("written");
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    let (was, is): (BTreeSet<_>, BTreeSet<_>) = (golden.lines().collect(), table.lines().collect());
    let (gone, new): (Vec<_>, Vec<_>) = (was.difference(&is).collect(), is.difference(&was).collect());
    assert!(
        golden == table,
        "permissions changed: review, then UPDATE_GOLDEN=1\nwas: {gone:#?}\nis: {new:#?}"
    );
}

/// That the handler asks for just that is held against every request (`web::asked`), as long as some sample is done.
async fn r30_every_route_has_a_sample_that_asks_what_its_row_says(_: Database) {
    let (rows, policy) = (web::rows(), table::table());
    for row in &rows {
        let place = format!("{} {}", row.method, row.path);
        let mut samples = samples::all().filter(|sample| sample.is_for(row)).peekable();
        assert!(samples.peek().is_some(), "{place} needs a sample in tests/permissions/samples");
        let said: BTreeSet<_> = row.asks.iter().chain(&row.may_ask).copied().collect();
        let asked: BTreeSet<_> = samples.flat_map(|sample| sample.asks).map(|(act, _)| *act).collect();
        let unsaid: Vec<_> = asked.difference(&said).collect();
        assert!(unsaid.is_empty(), "{place}: its row doesn't say {unsaid:?}");
        for act in said {
            assert!(
                policy.iter().any(|line| line.act == act),
                "{place}: {act} isn't in domain::authz::table"
            );
        }
    }
    for sample in samples::all() {
        let routed = rows.iter().any(|row| sample.is_for(row));
        assert!(routed, "{} {} is no route any more", sample.method, sample.route);
    }
}

/// An administrator's: it would be allowed everything else.
async fn a_token_for_reading_reads_and_changes_nothing_on_any_route(_: Database) {
    let worlds = NOUNS.iter().map(|noun| async move {
        let mut world = World::make().await;
        let (reader, _) = world.cast.admin.by_token(json!({"scope": "read"})).await;
        let (rows, mut read, mut refused) = (web::rows(), 0, 0);
        for (row, sample) in with_rows(&rows, *noun) {
            if matches!(row.access, Access::Public | Access::Agent) {
                continue;
            }
            let request = shown_by(world.request(row, sample).await, row, &reader.token);
            let answer = request.await;
            let place = format!("{} {}, {}: {}", row.method, row.path, sample.what, answer.status);
            if row.reads {
                // What tasks alone may read the account itself doesn't.
                let reads = matches!(answer.status, 200 | 303);
                let its_own = if reads {
                    answer.status
                } else {
                    let request = world.request(row, sample).await;
                    shown_by(request, row, &world.cast.admin.token).await.status
                };
                assert!(reads || answer.status == 403 && its_own == 403, "{place}");
                read += 1;
            } else {
                assert_eq!(answer.status, 403, "{place}");
                let text = answer.text().to_lowercase();
                assert!(text.contains("this access token is for reading only"), "{place}");
                refused += 1;
            }
        }
        (read, refused)
    });
    let counts = join_all(worlds).await.into_iter();
    let (read, refused) = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(read > 30 && refused > 30, "{read} read, {refused} refused");
}
