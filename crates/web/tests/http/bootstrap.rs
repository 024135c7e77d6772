//! The first accounts of a new installation (P1, X2, X3).

use std::os::unix::fs::PermissionsExt as _;

use master::config::{BlankPasswords, FirstPassword};
use serde_json::json;
use testkit::{Database, Requests as _, TestMaster, on_both_databases};

on_both_databases!(
    x02_the_first_administrator_is_configured_once,
    x03_a_null_password_makes_a_random_one_that_is_read_once,
    x03_where_blank_passwords_are_denied_one_is_made_up,
    x03_the_file_goes_when_the_password_is_replaced,
    x03_what_a_crash_left_is_tidied,
    p04_the_page_names_the_first_administrator,
    r36_the_first_password_is_not_shown,
);

const FILE: &str = "initial-admin-password";

async fn root(database: Database, password: FirstPassword) -> TestMaster {
    TestMaster::configured(database, |config| {
        config.bootstrap.admin.username = "root".to_owned();
        config.bootstrap.admin.email = Some("root@lab.example".to_owned());
        config.bootstrap.admin.password = password;
    })
    .await
}

async fn x02_the_first_administrator_is_configured_once(database: Database) {
    // Taken as it is, though it is weak.
    let mut master = root(database, FirstPassword::Given("short".to_owned())).await;
    let root = master.log_in_with("root", "short").await;
    let me = root.get("/api/v1/me").await.ok();
    assert_eq!((&me["user"]["admin"], &me["user"]["email"]), (&json!(true), &json!("root@lab.example")));
    assert_eq!(master.anon().log_in("admin", "").await.status, 401);
    assert!(!master.storage().data_dir().join(FILE).exists());
    let seen = master.default_user().await.get(&root.path()).await.ok();
    assert_eq!(seen["user"]["email"], json!(null), "for oneself and administrators only");

    // P1: what is changed later changes nothing.
    master.reconfigure(|config| {
        config.bootstrap.admin.username = "boss".to_owned();
        config.bootstrap.admin.password = FirstPassword::Random;
        config.bootstrap.default_user = "pedl".to_owned();
    });
    master.restart().await;
    master.log_in_with("root", "short").await;
    assert_eq!(master.anon().log_in("boss", "").await.status, 401);
    assert_eq!(master.anon().get("/info").await.ok()["default_user"], "determined");
    assert!(!master.storage().data_dir().join(FILE).exists());
}

async fn x03_a_null_password_makes_a_random_one_that_is_read_once(database: Database) {
    let mut master = root(database, FirstPassword::Random).await;
    let file = master.storage().data_dir().join(FILE);
    let mode = std::fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let password = std::fs::read_to_string(&file).expect("readable").trim().to_owned();
    assert!(password.len() >= 20, "{password}");
    assert_eq!(master.anon().log_in("root", "").await.status, 401);
    assert_eq!(master.anon().log_in("root", "wrong").await.status, 401);
    master.restart().await;
    assert!(file.exists(), "nobody has used it yet");
    master.log_in_with("root", &password).await;
    assert!(!file.exists());
    master.restart().await;
    assert!(!file.exists());
    master.log_in_with("root", &password).await;
}

async fn x03_where_blank_passwords_are_denied_one_is_made_up(database: Database) {
    let deny = |config: &mut master::Config| config.security.blank_passwords = BlankPasswords::Deny;
    let master = TestMaster::configured(database, deny).await;
    let password = std::fs::read_to_string(master.storage().data_dir().join(FILE)).expect("made up");
    assert_eq!(master.anon().log_in("admin", "").await.status, 403);
    master.log_in_with("admin", password.trim()).await;
}

async fn x03_the_file_goes_when_the_password_is_replaced(database: Database) {
    let master = root(database, FirstPassword::Random).await;
    let file = master.storage().data_dir().join(FILE);
    let password = std::fs::read_to_string(&file).expect("readable");
    let root = master.log_in_with("root", password.trim()).await;
    // Another administrator sets it before its person has come.
    std::fs::write(&file, &password).expect("written");
    root.patch(&root.path()).json(json!({"password": "another lake"})).await.ok();
    assert!(!file.exists());
}

async fn x03_what_a_crash_left_is_tidied(database: Database) {
    let mut master = root(database, FirstPassword::Random).await;
    let file = master.storage().data_dir().join(FILE);
    let password = std::fs::read_to_string(&file).expect("readable");
    master.log_in_with("root", password.trim()).await;
    master.stop().await;
    std::fs::write(&file, &password).expect("written");
    master.boot().await;
    assert!(!file.exists());
}

async fn p04_the_page_names_the_first_administrator(database: Database) {
    let master = root(database, FirstPassword::Blank).await;
    let page = async || master.anon().get("/commands").await.expect(200).text();
    assert!(page().await.contains("muster -u root user change-password"));
    let root = master.log_in("root").await;
    root.patch(&root.path()).json(json!({"username": "toor"})).await.ok();
    assert!(page().await.contains("muster -u toor user change-password"));
    root.patch(&root.path()).json(json!({"password": "a quiet lake"})).await.ok();
    assert!(!page().await.contains("change-password"));
}

async fn r36_the_first_password_is_not_shown(database: Database) {
    let master = root(database, FirstPassword::Given("a quiet lake".to_owned())).await;
    let root = master.log_in_with("root", "a quiet lake").await;
    let shown = root.get("/api/v1/master/config").await.expect(200).text();
    assert!(shown.contains("root@lab.example") && !shown.contains("quiet"), "{shown}");
}
