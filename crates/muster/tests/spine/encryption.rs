//! D9: an encrypted master, and how people and programs learn to trust it. How certificates are kept and replaced is
//! tested in `web`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Muster, Output, Person, Setup, Terminal, run};

/// What stands before the authority's fingerprint in the server's log.
const FINGERPRINT: &str = "authority is ";

fn own() -> Setup {
    Setup::default().master_alone().config("tls: self")
}

/// What the server printed at its start.
fn fingerprint(muster: &Muster) -> String {
    let said = muster.server().stderr.wait_for(FINGERPRINT);
    let (_, rest) = said.rsplit_once(FINGERPRINT).expect("printed");
    rest.lines().next().expect("a line").trim().to_owned()
}

fn authority(muster: &Muster) -> String {
    muster.data_dir().join("tls/authority.crt").to_str().expect("text").to_owned()
}

/// The command of somebody who was told the fingerprint.
fn told(person: &Person, line: &str, fingerprint: &str) -> Command {
    let mut command = person.command(line.split_whitespace());
    command.env("MUSTER_MASTER_FINGERPRINT", fingerprint);
    command
}

fn curl(args: &[&str]) -> Output {
    run(Command::new("curl").args(["-s", "-i", "--max-time", "10"]).args(args), "")
}

#[test]
fn d09_nobody_is_trusted_unasked() {
    let muster = own().up();
    assert!(muster.url.starts_with("https://127.0.0.1:"), "{}", muster.url);
    let (alice, known) = (muster.person("alice"), fingerprint(&muster));
    let refused = alice.muster("user whoami").exits(8).says("--master-fingerprint").says(&known);
    assert!(refused.err().contains("MUSTER_MASTER_CERT_FILE"), "{}", refused.err());
    assert_eq!(run(&mut told(&alice, "user whoami", &known), "").ok(), "determined");
    let flag = format!("--master-fingerprint {} user whoami", known.to_uppercase());
    assert_eq!(alice.muster(&flag).ok(), "determined");
    let other = format!("{}{}{}", &known[..7], if &known[7..9] == "00" { "01" } else { "00" }, &known[9..]);
    run(&mut told(&alice, "user whoami", &other), "")
        .exits(8)
        .says("not the one that was expected")
        .says(&known);
    run(&mut told(&alice, "user whoami", "SHA256:12"), "").exits(2).says("64 hexadecimal digits");
    let mut by_file = alice.command(["user", "whoami"]);
    assert_eq!(run(by_file.env("DET_MASTER_CERT_FILE", authority(&muster)), "").ok(), "determined");
    // Nothing of all this was remembered: nobody was asked.
    alice.muster("user whoami").exits(8);
}

#[test]
fn d09_tasks_run_and_reach_an_encrypted_master() {
    let muster = Setup::default().config("tls: self").up();
    let (alice, known) = (muster.person("alice"), fingerprint(&muster));
    // The agent proves the master by its key, and a task has its agent's way there.
    let asks = r#"python3 -c "import os,urllib.request as u; print(u.urlopen(os.environ['DET_MASTER']+'/health').status)""#;
    let mut run_it = told(&alice, "command run sh -c", &known);
    assert_eq!(run(run_it.arg(asks), "").ok(), "200");
    let mut by_file = alice.det_command();
    by_file.env("DET_MASTER_CERT_FILE", authority(&muster)).args(["cmd", "run", "echo over https"]);
    assert!(run(&mut by_file, "").ok().contains("over https"));
}

#[test]
fn d09_a_person_is_asked_once_and_a_change_is_refused_aloud() {
    let mut muster = own().keeps_port().up();
    let (alice, known) = (muster.person("alice"), fingerprint(&muster));
    let whoami = alice.command(["user", "whoami"]);
    let mut no = Terminal::start(&whoami);
    assert!(no.screen.wait_for("[y/N]").contains(&known));
    no.types("n\n");
    let (code, screen) = no.finish();
    assert!(code == 8 && screen.contains("is not trusted"), "{screen}");
    let mut yes = Terminal::start(&whoami);
    yes.screen.wait_for("[y/N]");
    yes.types("y\n");
    let (code, screen) = yes.finish();
    assert!(code == 0 && screen.contains("determined"), "{screen}");
    let file = alice.config_dir().join("known_masters");
    assert_eq!(fs::metadata(&file).expect("remembered").permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(&file).expect("text").contains(&known));
    assert_eq!(alice.muster("user whoami").ok(), "determined", "not asked again");
    let pem = alice.muster("master certificate").says(&known).ok();
    assert_eq!(pem, fs::read_to_string(authority(&muster)).expect("there").trim_end());

    // After a restart it has another certificate by the same authority.
    muster.stop();
    muster.begin();
    assert_eq!(alice.muster("user whoami").ok(), "determined");
    // With another authority it may be anybody.
    muster.stop();
    fs::remove_dir_all(muster.data_dir().join("tls")).expect("removed");
    muster.begin();
    let new = fingerprint(&muster);
    assert_ne!(new, known);
    let refused =
        alice.muster("user whoami").exits(8).says("not the one that was expected").says("master forget");
    assert!(refused.err().contains(&new) && refused.err().contains(&known), "{}", refused.err());
    alice.muster("master forget").exits(0);
    alice.muster("user whoami").exits(8).says("--master-fingerprint");
}

#[test]
fn d09_plain_http_on_that_port_says_where_to_go() {
    let muster = own().up();
    let plain = muster.url.replace("https://", "http://");
    let person = Person { url: plain.clone(), ..muster.person("alice") };
    assert_eq!(person.muster("user whoami").ok(), "determined", "by the master's own socket");
    let said = curl(&[&format!("{plain}/api/v1/me")]).ok();
    assert!(said.contains(&format!("this port speaks https: {}", muster.url)), "{said}");
    let login =
        curl(&["-d", "{\"username\":\"admin\",\"password\":\"\"}", &format!("{plain}/api/v1/auth/login")])
            .ok();
    assert!(login.starts_with("HTTP/1.1 400") && !login.contains("token\""), "{login}");
    let page = curl(&["-H", "accept: text/html", &format!("{plain}/commands")]).ok();
    assert!(page.starts_with("HTTP/1.1 307") && page.contains(&format!("{}/commands", muster.url)), "{page}");
    let encrypted = Person { url: plain.replace("http://", "https://"), ..muster.person("alice") };
    let http = Muster::up();
    let wrong = Person { url: http.url.replace("http://", "https://"), ..encrypted };
    wrong.muster("user whoami").exits(8).says("no https is spoken there");
}

#[test]
fn d09_a09_cookies_are_bound_to_https() {
    let muster = own().up();
    let (file, url) = (authority(&muster), muster.url.clone());
    let form =
        ["-d", "username=admin&password=&redirect=/", "-H", "sec-fetch-site: same-origin", "--cacert", &file];
    let page = curl(&[&form[..], &[&format!("{url}/login")]].concat()).ok();
    let cookie =
        page.lines().find_map(|line| line.strip_prefix("set-cookie: __Host-auth=")).expect("a session");
    assert!(
        cookie.contains("; Secure") && cookie.contains("; HttpOnly") && !cookie.contains("Domain"),
        "{cookie}"
    );
    let (token, _) = cookie.split_once(';').expect("attributes");
    let me = |name: &str| {
        curl(&["--cacert", &file, "-H", &format!("cookie: {name}={token}"), &format!("{url}/api/v1/me")]).ok()
    };
    assert!(me("__Host-auth").starts_with("HTTP/1.1 200"));
    assert!(me("auth").starts_with("HTTP/1.1 401"), "what other ports can set doesn't count");
    // Browsers take this header from nobody whose certificate they don't know; by itself it is never sent.
    assert!(!page.to_ascii_lowercase().contains("strict-transport-security"));
}

#[test]
fn d09_only_tls_1_2_and_1_3() {
    let muster = own().up();
    let file = authority(&muster);
    let with = |versions: &[&str]| {
        curl(
            &[
                &["--cacert", &file, "--ciphers", "DEFAULT@SECLEVEL=0"],
                versions,
                &[&format!("{}/health", muster.url)],
            ]
            .concat(),
        )
    };
    for good in ["1.2", "1.3"] {
        with(&["--tls-max", good, &format!("--tlsv{good}")]).exits(0);
    }
    for old in ["1.0", "1.1"] {
        with(&["--tls-max", old, &format!("--tlsv{old}")]).exits(35);
    }
}

#[test]
fn d09_det_trusts_by_its_own_prompt_and_by_a_file() {
    let muster = own().up();
    let alice = muster.person("alice");
    alice.det("user whoami").exits(1);
    let mut by_file = alice.det_command();
    by_file.env("DET_MASTER_CERT_FILE", authority(&muster)).args(["user", "whoami"]);
    assert!(run(&mut by_file, "").ok().contains("determined"));
    let mut prompt = Terminal::start(alice.det_at_terminal().args(["user", "whoami"]));
    prompt.screen.wait_for("Do you want to trust this certificate from now on?");
    prompt.types("yes\n");
    let (code, screen) = prompt.finish();
    assert!(code == 0 && screen.contains("determined"), "{screen}");
    assert!(alice.det("user whoami").ok().contains("determined"), "stored");
}

#[test]
fn d09_x07_polyaxon_over_https() {
    let muster = own().up();
    let (alice, known) = (muster.person("alice"), fingerprint(&muster));
    let mut change = told(&alice, "-u admin user change-password --password-stdin", &known);
    run(&mut change, "a quiet lake\n").exits(0);
    let polyaxon = |args: &[&str]| {
        // Its login heeds `verify_ssl` nowhere; the library below it looks here.
        let mut command = Command::new(testkit::env::polyaxon());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &alice.home).env("TMPDIR", &alice.home);
        command.env("LC_ALL", "C.UTF-8").env("REQUESTS_CA_BUNDLE", authority(&muster)).args(args);
        run(&mut command, "").exits(0)
    };
    let (host, port) = muster.url.trim_start_matches("https://").rsplit_once(':').expect("a port");
    let (host, port) = (format!("--host={host}"), format!("--port={port}"));
    polyaxon(&["config", "set", &host, &port, "--use_https=true", "--verify_ssl=true"]);
    polyaxon(&["login", "-u", "admin", "-p", "a quiet lake"]);
    assert!(polyaxon(&["whoami"]).out().contains("Username: admin"));
}

#[test]
fn d09_a_listener_in_the_clear_says_what_that_means() {
    let mut muster = Setup::default().install();
    let mut command = muster.server_command();
    let args: Vec<_> = command
        .get_args()
        .map(|arg| if arg == "127.0.0.1:0" { "0.0.0.0:0".into() } else { arg.to_owned() })
        .collect();
    command = muster.role(&[]);
    muster.begin_with(command.args(args));
    muster.server().stderr.wait_for("passwords and tokens can be read on the network");
}

#[test]
fn d09_agents_work_over_https_and_need_no_certificate() {
    let muster = Setup::default().config("tls: self").up();
    assert!(muster.url.starts_with("https://"), "{}", muster.url);
    let (alice, known) = (muster.person("alice"), fingerprint(&muster));
    fs::create_dir(alice.home.join("code")).expect("made");
    fs::write(alice.home.join("code/word"), "through\n").expect("written");
    // The agent is registered, fetches a context, and ships a log.
    let line = format!("command run --context {} cat word", alice.home.join("code").display());
    assert_eq!(run(&mut told(&alice, &line, &known), "").exits(0).out(), "through\n");
}

#[test]
fn d09_the_certificate_is_had_on_the_machine_itself_without_a_question() {
    let muster = Setup::default().config("tls: self").up();
    let me = muster.person("me");
    for address in [muster.url.clone(), muster.url.replacen("https", "http", 1)] {
        let got = me.muster(&format!("-m {address} master certificate")).exits(0);
        assert!(got.out().starts_with("-----BEGIN CERTIFICATE-----"), "{}", got.out());
        assert!(got.err().contains("SHA256:"), "{}", got.err());
    }
}
