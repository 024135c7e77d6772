//! Logging in and out, acting as somebody else once, and what is kept between two commands.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Muster, Output, Person, Process, Setup, eventually, run};

/// The token that is kept for a user, if there is one.
fn kept_token(person: &Person, user: &str) -> Option<String> {
    let text = fs::read_to_string(person.config_dir().join("auth.json")).ok()?;
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    Some(kept["masters"][&person.url]["tokens"][user].as_str()?.to_owned())
}

/// Whether a token is good, asked without anything else that could let one in.
#[track_caller]
fn with_token(muster: &Muster, token: &str) -> Output {
    run(muster.person("thief").command(["user", "whoami"]).env("MUSTER_TOKEN", token), "")
}

#[track_caller]
fn set_password(person: &Person, user: &str, password: &str) {
    let line = format!("-u admin user change-password {user} --password-stdin");
    person.muster_with(&line, &format!("{password}\n")).exits(0);
}

#[test]
fn p02_p03_with_nothing_configured_one_is_the_default_user() {
    let muster = Muster::up();
    let me = muster.person("me");
    let home_only = |args: &[&str]| run(me.command(args).env_remove("MUSTER_CONFIG_DIR"), "");
    let whoami = home_only(&["user", "whoami"]).exits(0);
    assert_eq!((whoami.out(), whoami.err()), ("determined\n", ""));
    assert!(me.home.join(".config/muster/auth.json").exists());
    home_only(&["command", "run", "true"]).exits(0);
    assert_eq!(me.json("command list -a")[0]["username"], "determined");
}

#[test]
fn p02_a_default_user_with_a_password_is_asked_to_log_in() {
    let muster = Muster::up();
    let me = muster.person("me");
    set_password(&me, "determined", "correct horse");
    muster.person("other").muster("user whoami").exits(4).says("muster user login");
}

#[test]
fn p07_a_session_outlives_the_master() {
    let mut muster = Setup::default().keeps_port().up();
    let alice = muster.user("alice");
    let token = kept_token(&alice, "alice").expect("kept");
    set_password(&alice, "admin", "correct horse");
    muster.stop();
    alice.muster("user whoami").exits(8).says("can't reach a Muster master").says("muster up");
    muster.begin();
    assert_eq!(alice.muster("user whoami").ok(), "alice");
    assert_eq!(kept_token(&alice, "alice").as_ref(), Some(&token), "it is the same session");
    muster.person("b").muster("-u admin user whoami").exits(4);
}

#[test]
fn p08_logout_ends_the_session_on_the_server_too() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    let token = kept_token(&alice, "alice").expect("kept");
    assert_eq!(with_token(&muster, &token).ok(), "alice");
    alice.muster("user logout").exits(0).says("Logged out alice.");
    assert_eq!(kept_token(&alice, "alice"), None);
    with_token(&muster, &token).exits(4).says("MUSTER_TOKEN is not accepted");
    assert_eq!(alice.muster("user whoami").ok(), "determined");
    alice.muster("user logout --all").exits(0);
    alice.muster("user logout").exits(0).says("Nobody was logged in.");
}

#[test]
fn p06_deactivation_ends_every_session_at_the_next_request() {
    let muster = Muster::up();
    let (here, there) = (muster.user("alice"), muster.person("there"));
    there.muster("-u alice user whoami").exits(0);
    let token = kept_token(&there, "alice").expect("kept");
    here.muster("-u admin user deactivate alice").exits(0);
    with_token(&muster, &token).exits(4);
    here.muster("user whoami").exits(5).says("user is not active");
    there.muster("-u alice command list").exits(5);
    assert_eq!(there.muster("user whoami").ok(), "determined", "nobody else is concerned");
    here.muster("-u admin user activate alice").exits(0);
    with_token(&muster, &token).exits(4);
}

#[test]
fn p11_u_acts_once_keeps_a_token_and_discards_it() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    alice.muster("-u admin user create bob").exits(0);
    set_password(&alice, "bob", "correct horse");

    alice.muster("-u bob user whoami").exits(4).says("--password-stdin where there is no terminal");
    let mut asked = at_terminal(&alice, "-u bob user whoami");
    asked.stdout.wait_for("Password of bob: ");
    eventually("the terminal shows nothing", || echo_is_off(&asked).then_some(()));
    asked.answer("correct horse\n");
    assert_eq!(asked.finish().ok(), "Password of bob: \r\nbob\r", "the password is not shown");
    assert_eq!(alice.muster("-u bob user whoami").ok(), "bob", "asked once");
    assert_eq!(alice.muster("user whoami").ok(), "alice", "the logged-in user stays");

    let token = kept_token(&alice, "bob").expect("kept");
    alice.muster("-u bob user logout").exits(0).says("Logged out bob.");
    with_token(&muster, &token).exits(4);
    alice.muster("-u bob user whoami").exits(4);
    assert_eq!(alice.muster("user whoami").ok(), "alice");
}

#[test]
fn p11_nobody_is_asked_for_a_blank_password() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    for line in ["-u admin user whoami", "-u determined user whoami", "user login determined"] {
        let said = at_terminal(&alice, line).finish().ok();
        assert!(!said.contains("Password of"), "{line}: {said:?}");
    }
}

#[test]
fn the_environment_of_determined_is_honoured() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    set_password(&alice, "alice", "correct horse");
    let mut command = muster.person("other").command(["user", "whoami"]);
    command.env_remove("MUSTER_MASTER").env("DET_MASTER", &muster.url);
    assert_eq!(run(command.env("DET_USER", "alice").env("DET_PASS", "correct horse"), "").ok(), "alice");
    let mut command = muster.person("third").command(["user", "whoami"]);
    run(command.env("MUSTER_USER", "alice"), "").exits(4);
}

#[test]
fn what_is_kept_is_its_owners_alone() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    let bits = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    let file = alice.config_dir().join("auth.json");
    assert_eq!((bits(&alice.config_dir()), bits(&file)), (0o700, 0o600));
    for file in fs::read_dir(alice.config_dir()).expect("a directory").flatten() {
        assert_eq!(bits(&file.path()) & 0o077, 0, "{file:?}");
    }
    assert_eq!(bits(&muster.data_dir()), 0o700);

    fs::write(&file, "{ no JSON").expect("written");
    alice.muster("user whoami").exits(0).says("can't be understood").says("auth.json.broken");
}

#[test]
fn an_account_that_is_renamed_stays_logged_in() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    let token = kept_token(&alice, "alice").expect("kept");
    muster.admin().muster("user rename alice alicia").exits(0).says("User alice is alicia now.");
    assert_eq!(with_token(&muster, &token).ok(), "alicia");
}

#[test]
fn b18_a_name_that_is_another_accounts_now_acts_as_nobody() {
    let muster = Muster::up();
    let (admin, carol) = (muster.admin(), muster.user("carol"));
    admin.muster("user rename carol caroline").exits(0);
    let refused =
        carol.muster("-u carol user whoami").exits(2).says("is called caroline now, and nothing was done");
    assert_eq!(refused.out(), "");
    assert_eq!(carol.muster("-u caroline user whoami").ok(), "caroline");
    admin.muster("user rename caroline carola").exits(0);
    let followed = carol.muster("user whoami").says("Your account is called carola now.");
    assert_eq!(followed.ok(), "carola");
    assert_eq!(carol.muster("user whoami").exits(0).err(), "", "said once");
}

#[test]
fn b18_the_terminal_shows_again_what_is_typed() {
    let muster = Muster::up();
    let alice = muster.user("alice");
    muster.admin().muster_with("user change-password alice --password-stdin", "a quiet lake\n").exits(0);
    let plain = alice.command::<&str>([]);
    let exe = plain.get_program().to_str().expect("text").to_owned();
    let script = format!("trap : INT; {exe} user login alice; echo status $?; stty -a");
    let mut command = Command::new("script");
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--quiet", "--return", "--command", &format!("sh -c '{script}'"), "/dev/null"]);
    let mut asked = Process::start_dialogue(&mut command);
    asked.stdout.wait_for("Password of alice: ");
    eventually("the terminal shows nothing", || echo_is_off(&asked).then_some(()));
    asked.answer("\u{3}");
    let said = asked.finish().ok();
    assert!(said.contains("status 130") && !said.contains("-echo "), "{said}");
}

/// Starts `muster LINE` at a terminal, which shows everything on standard output.
#[track_caller]
fn at_terminal(person: &Person, line: &str) -> Process {
    let plain = person.command::<&str>([]);
    let muster = format!("{} {line}", plain.get_program().to_str().expect("text"));
    let mut command = Command::new("script");
    command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["--quiet", "--return", "--command", &muster, "/dev/null"]);
    Process::start_dialogue(&mut command)
}

/// Whether the terminal of [`at_terminal`] keeps what is typed to itself. The prompt is written just before that.
fn echo_is_off(script: &Process) -> bool {
    let pid = script.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let Some(child) = children.split_whitespace().next() else { return false };
    let Ok(terminal) = fs::read_link(format!("/proc/{child}/fd/0")) else { return false };
    let settings = run(Command::new("stty").arg("-F").arg(terminal).arg("-a"), "").ok();
    settings.split_whitespace().any(|word| word == "-echo")
}

#[test]
fn people_see_and_end_their_own_sessions() {
    let muster = Muster::up();
    let (desk, laptop) = (muster.person("desk"), muster.person("laptop"));
    desk.muster("-u admin user create alice").exits(0);
    desk.muster("user login alice").exits(0);
    laptop.muster("user login alice").exits(0);
    let sessions: serde_json::Value =
        serde_json::from_str(&desk.muster("user sessions --json").ok()).expect("JSON");
    let other = sessions.as_array().expect("a list").iter().find(|session| session["current"] == false);
    let id = &other.expect("the laptop's")["id"];
    desk.muster(&format!("user sessions revoke {id}")).exits(0);
    desk.muster(&format!("user sessions revoke {id}")).exits(6);
    let left = desk.muster("user sessions alice --csv").ok();
    assert_eq!(left.lines().count(), 2, "a heading and this one: {left}");
}
