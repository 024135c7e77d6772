//! `kill -9` of the master at random moments under a load of changes (L01): after every restart each acknowledged
//! change is there, and no half of one that was not.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::client::{Client, ClientError};
use api::command::LaunchCommand;
use api::user::{AgentUserGroup, CreateUser, NewUser, PatchUser, User};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;

use crate::support::{DEADLINE, Database, Muster, Setup, pause, run};

/// Where the load goes on from: what the master has acknowledged, and what it may or may not have done.
#[derive(Debug, Default)]
struct Ledger {
    /// By id: name, and the generation that it carries in all parts that change together.
    users: BTreeMap<i64, (String, u32)>,
    /// Changes that were sent and not answered: by id the generation.
    unsure: BTreeMap<i64, u32>,
    commands: Vec<String>,
    changes: usize,
}

impl Ledger {
    /// Whether enough was done for so many kills to mean something.
    fn is_load_for(&self, kills: usize) -> bool {
        self.users.len() > kills && self.changes > kills / 2 && self.commands.len() > kills / 2
    }
}

#[test]
fn l01_kill_storm_on_sqlite() {
    storm(Database::Sqlite, 200);
}

#[test]
fn l01_kill_storm_on_postgres() {
    storm(Database::Postgres, 20);
}

fn storm(database: Database, kills: usize) {
    // This process, which holds a server's sockets too, is no neighbour to the master (A3).
    let anybody = "security: {blank_passwords: allow}";
    let mut muster = Setup::default().on(database).config(anybody).slots(8).keeps_port().up();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let client = Client::new(&muster.url, None).expect("an address");
    let login = runtime.block_on(client.login("admin", "", None)).expect("logged in");
    let client = client.with_token(Some(login.token));
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut rng = StdRng::seed_from_u64(0x6c30_3100);

    // On a busy machine little gets done between two kills: then there are more.
    for kill in 0..3 * kills {
        if kill >= kills && ledger.lock().expect("nobody panics").is_load_for(kills) {
            break;
        }
        let load = [
            runtime.spawn(make_users(client.clone(), Arc::clone(&ledger), kill)),
            runtime.spawn(change_users(client.clone(), Arc::clone(&ledger))),
            runtime.spawn(run_commands(client.clone(), Arc::clone(&ledger))),
        ];
        let moment = Duration::from_micros(rng.random_range(5_000..300_000));
        pause(moment);
        muster.kill();
        runtime.block_on(async {
            for worker in load {
                worker.await.expect("the load goes on until the master is gone");
            }
        });
        if rng.random_ratio(1, 10) {
            let moment = Duration::from_micros(rng.random_range(0..60_000));
            muster.begin_and_kill(moment);
        }
        muster.begin();
        runtime.block_on(check(&client, &mut ledger.lock().expect("nobody panics")));
    }

    let ledger = ledger.lock().expect("nobody panics");
    let (users, commands) = (ledger.users.len(), ledger.commands.len());
    let load = format!("{kills} kills, {users} accounts, {} changes, {commands} commands", ledger.changes);
    assert!(ledger.is_load_for(kills), "hardly any load: {load}");
    runtime.block_on(all_commands_end(&client));
    muster.stop();
    if database == Database::Sqlite {
        assert_intact(&muster);
    }
}

/// Makes accounts until the master is gone. One that was not acknowledged may be there, whole.
async fn make_users(client: Client, ledger: Arc<Mutex<Ledger>>, round: usize) {
    for number in 0.. {
        let new = CreateUser {
            user: Some(NewUser {
                username: Some(format!("user-{round}-{number}-0")),
                active: Some(true),
                display_name: Some(format!("shown-{round}-{number}-0")),
                agent_user_group: Some(link(0)),
                ..NewUser::default()
            }),
            ..CreateUser::default()
        };
        match client.create_user(&new).await {
            Ok(user) => {
                ledger.lock().expect("nobody panics").users.insert(user.id, (user.username, 0));
            }
            Err(error) => return assert_gone(&error),
        }
    }
}

/// Gives accounts another name, display name and link in one change, until the master is gone.
async fn change_users(client: Client, ledger: Arc<Mutex<Ledger>>) {
    for turn in 0.. {
        let next = {
            let ledger = ledger.lock().expect("nobody panics");
            let index = turn * 7 % ledger.users.len().max(1);
            ledger.users.iter().nth(index).map(|(id, (name, generation))| (*id, name.clone(), *generation))
        };
        // In the first moments there is none yet; the next round has some.
        let Some((id, name, generation)) = next else { return };
        let new = generation + 1;
        let stem = name.rsplit_once('-').expect("made by us").0;
        let shown = stem.replace("user", "shown");
        let patch = PatchUser {
            username: Some(format!("{stem}-{new}")),
            display_name: Some(format!("{shown}-{new}")),
            agent_user_group: Some(link(new)),
            ..PatchUser::default()
        };
        ledger.lock().expect("nobody panics").unsure.insert(id, new);
        match client.patch_user(id, &patch).await {
            Ok(user) => {
                let mut ledger = ledger.lock().expect("nobody panics");
                ledger.unsure.remove(&id);
                ledger.users.insert(id, (user.username, new));
                ledger.changes += 1;
            }
            Err(error) => return assert_gone(&error),
        }
    }
}

/// Runs commands, a few in each round: what is tried here is that they are not lost.
async fn run_commands(client: Client, ledger: Arc<Mutex<Ledger>>) {
    let config = json!({"entrypoint": ["true"], "resources": {"slots": 0}});
    let launch = LaunchCommand {
        config: Some(serde_json::value::to_raw_value(&config).expect("JSON")),
        ..LaunchCommand::default()
    };
    for _ in 0..3 {
        match client.launch_command(&launch, |_, _| ()).await {
            Ok(launched) => ledger.lock().expect("nobody panics").commands.push(launched.command.id),
            Err(error) => return assert_gone(&error),
        }
    }
}

fn link(generation: u32) -> AgentUserGroup {
    AgentUserGroup {
        agent_uid: Some(i64::from(10_000 + generation)),
        agent_gid: Some(i64::from(10_000 + generation)),
        agent_user: Some(format!("u{generation}")),
        agent_group: Some(format!("g{generation}")),
    }
}

#[track_caller]
fn assert_gone(error: &ClientError) {
    assert!(error.is_passing(), "the master refused: {error}");
}

/// Compares what the master has with what it acknowledged.
async fn check(client: &Client, ledger: &mut Ledger) {
    let users = client.users(None).await.expect("a list");
    let users: BTreeMap<i64, User> = users.into_iter().map(|user| (user.id, user)).collect();
    for (id, (name, acknowledged)) in &mut ledger.users {
        let user = users.get(id).unwrap_or_else(|| panic!("{name} is lost"));
        let found = generation(user);
        if ledger.unsure.get(id) == Some(&found) {
            *acknowledged = found;
            name.clone_from(&user.username);
        }
        assert_eq!((&user.username, found), (&*name, *acknowledged), "a change is lost");
    }
    ledger.unsure.clear();
    for user in users.values().filter(|user| user.username.starts_with("user-")) {
        // The last one made may have been stored and not acknowledged.
        let found = (user.username.clone(), generation(user));
        ledger.users.entry(user.id).or_insert(found);
    }
    let commands = client.commands(&[], None).await.expect("a list");
    let lost = ledger.commands.iter().find(|id| !commands.iter().any(|command| command.id == **id));
    assert_eq!(lost, None, "a command is lost");
}

/// The generation of an account, which all its parts agree on.
#[track_caller]
fn generation(user: &User) -> u32 {
    let (_, generation) = user.username.rsplit_once('-').expect("made by us");
    let number = generation.parse().expect("a number");
    assert_eq!(user.display_name, user.username.replace("user", "shown"), "half a change: {user:?}");
    assert_eq!(user.agent_user_group, Some(link(number)), "half a change: {user:?}");
    number
}

/// Every command ran once, to its end, whatever happened meanwhile.
async fn all_commands_end(client: &Client) {
    for command in client.commands(&[], None).await.expect("a list") {
        let ended = async {
            // The output is over when the command is.
            let mut output = client.output_stream(&command.id, 0, true).await.expect("its output");
            while output.next().await.expect("readable").is_some() {}
        };
        tokio::time::timeout(DEADLINE, ended).await.expect("it ends");
        let ended = client.command(&command.id).await.expect("it is there").command;
        assert_eq!((ended.state.as_str(), ended.exit_code), ("STATE_TERMINATED", Some(0)), "{ended:?}");
    }
}

fn assert_intact(muster: &Muster) {
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\n\
                  print(*(row for pragma in ('integrity_check', 'foreign_key_check') \
                  for row in db.execute(f'PRAGMA {pragma}')))";
    let mut python = Command::new(testkit::env::python());
    let found = run(python.args(["-c", script]).arg(muster.data_dir().join("muster.db")), "").ok();
    assert_eq!(found, "('ok',)");
}
