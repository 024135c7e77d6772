//! Names and places: which `Host` is answered (R08), and where blank passwords are good (R15, R36).

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use master::config::BlankPasswords;
use serde_json::json;
use testkit::http::Http;
use testkit::{Database, Requests as _, TestMaster, on_both_databases, on_sqlite};

on_both_databases!(r15_blank_passwords_are_for_the_machine_itself);
on_sqlite!(
    r14_no_header_says_who_somebody_is,
    r08_other_names_are_not_answered,
    r15_a_peer_elsewhere_is_no_neighbour,
    r15_r36_the_switch_is_obeyed,
    a14_r09_other_sites_pages_open_and_change_nothing,
    a08_forwarding_headers_of_strangers_say_nothing_of_addresses,
);

async fn r08_other_names_are_not_answered(database: Database) {
    let master = TestMaster::configured(database, |config| {
        config.security.hosts = vec!["lab.example.org".to_owned()];
    })
    .await;
    let alice = master.user("alice").await;
    for host in ["evil.example.org", "lab.example.org.evil.org", "localhost.evil.org", "evil", ""] {
        for path in ["/api/v1/me", "/info", "/health", "/", "/nothing", "/api/v1/agents/connect"] {
            assert_eq!(alice.get(path).header("host", host).await.status, 421, "{host:?} {path}");
        }
        let login = master.anon().post("/api/v1/auth/login").json(json!({"username": "admin"}));
        let text = login.header("host", host).await.refused(421);
        assert!(text.contains("security.hosts"), "{text}");
    }
    for host in [
        "lab.example.org",
        "LAB.example.org:8080",
        "localhost",
        "x.localhost:1",
        "127.0.0.1",
        "[::1]:80",
        "192.0.2.1",
    ] {
        alice.get("/api/v1/me").header("host", host).await.ok();
    }
}

async fn r15_blank_passwords_are_for_the_machine_itself(database: Database) {
    let master = TestMaster::configured(database, |config| {
        config.security.hosts = vec!["lab.example.org".to_owned()];
    })
    .await;
    let alice = master.user("alice").await;
    alice.patch(&alice.path()).json(json!({"password": "a quiet lake"})).await.ok();
    let signs = [
        ("host", "lab.example.org"),
        ("host", "192.0.2.1"),
        ("forwarded", "for=192.0.2.7"),
        ("via", "1.1 proxy"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "localhost"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "127.0.0.1"),
    ];
    for (name, value) in signs {
        let log_in = |user: &str, password: &str| {
            let body = json!({"username": user, "password": password});
            master.anon().post("/api/v1/auth/login").json(body).header(name, value)
        };
        let refused = log_in("admin", "").await.refused(403);
        assert!(refused.contains("on the master's own machine only"), "{name}: {value}: {refused}");
        assert_eq!(log_in("nobody", "").await.refused(403), refused, "it says nothing about accounts");
        log_in("alice", "a quiet lake").await.ok();
        let info = master.anon().get("/info").header(name, value).await.ok();
        assert_eq!(info["default_user"], json!(null), "{name}: {value}");
    }
}

/// An address of this machine that isn't its loopback.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Nothing is sent; the kernel only chooses the way.
    socket.connect(("192.0.2.1", 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

async fn r15_a_peer_elsewhere_is_no_neighbour(database: Database) {
    // A machine without a network has no such peer; `web::origin` tests the decision for it.
    let Some(own) = own_address() else { return };
    let master = TestMaster::listening(database, IpAddr::V4(Ipv4Addr::UNSPECIFIED), |_| {}).await;
    let port = master.address().port();
    let far = Http::new(&format!("http://{own}:{port}"));
    let near = Http::new(&format!("http://127.0.0.1:{port}"));
    let blank = json!({"username": "admin", "password": ""});
    for host in ["localhost", "127.0.0.1", "192.0.2.9"] {
        let login = far.post("/api/v1/auth/login").json(blank.clone()).header("host", host);
        assert!(login.await.refused(403).contains("own machine"), "{host}");
        let info = far.get("/info").header("host", host).await.ok();
        assert_eq!(info["default_user"], json!(null), "{host}");
    }
    near.post("/api/v1/auth/login").json(blank).await.ok();
}

async fn r15_r36_the_switch_is_obeyed(database: Database) {
    let blank = json!({"username": "admin", "password": ""});
    for (switch, near, far) in [
        (BlankPasswords::Loopback, 200, 403),
        (BlankPasswords::Allow, 200, 200),
        (BlankPasswords::Deny, 403, 403),
    ] {
        let master =
            TestMaster::configured(database, |config| config.security.blank_passwords = switch).await;
        let login = master.anon().post("/api/v1/auth/login").json(blank.clone());
        assert_eq!(login.clone().await.status, near, "{switch:?}");
        assert_eq!(login.header("via", "1.1 proxy").await.status, far, "{switch:?} from afar");
        let named = master.anon().get("/info").await.ok()["default_user"].is_string();
        assert_eq!(named, near == 200, "{switch:?}");
    }
}

async fn r14_no_header_says_who_somebody_is(database: Database) {
    let master = TestMaster::start(database).await;
    for name in [
        "remote-user",
        "remote_user",
        "x-remote-user",
        "x-forwarded-user",
        "x-forwarded-preferred-username",
        "x-forwarded-email",
        "x-auth-request-user",
        "x-webauth-user",
        "x-authenticated-user",
        "x-user",
    ] {
        for path in ["/api/v1/me", "/api/v1/users/", "/api/v1/users"] {
            let asked = master.anon().get(path).header(name, "admin").await;
            assert_eq!(asked.status, 401, "{name}: {path}");
        }
        let page = master.anon().get("/commands").header(name, "admin").header("via", "1.1 proxy").await;
        assert_eq!(page.status, 303, "{name}: to the login page");
    }
}

async fn a14_r09_other_sites_pages_open_and_change_nothing(database: Database) {
    let master = TestMaster::start(database).await;
    let foreign = [
        ("origin", "http://evil.example.org"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ];
    let public = |row: &web::Row| matches!(row.access, web::Access::Public | web::Access::Agent);
    let posts: Vec<_> =
        web::rows().into_iter().filter(|row| public(row) && row.method == testkit::Method::POST).collect();
    assert!(posts.len() >= 4, "log-ins and registrations: {posts:?}");
    for (name, value) in foreign {
        for row in &posts {
            let answer = master.anon().post(row.path).json(json!({})).header(name, value).await;
            assert_eq!(answer.status, 403, "{} {name}: {value}", row.path);
        }
        let login = master.anon().post("/api/v1/auth/login").json(json!({"username": "admin"}));
        login.clone().await.ok();
        assert!(login.header(name, value).await.refused(403).contains("own pages"));
        // Every row, should it ever become a WebSocket.
        for row in web::rows().into_iter().filter(|row| row.method == testkit::Method::GET) {
            let path = row.path.replace(['{', '}'], "");
            let asked =
                master.anon().get(&path).header("connection", "upgrade").header("upgrade", "websocket");
            let asked = asked.header("sec-websocket-version", "13");
            let asked = asked.header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
            assert_eq!(asked.header(name, value).await.status, 403, "{path} {name}: {value}");
        }
    }
}

async fn a08_forwarding_headers_of_strangers_say_nothing_of_addresses(database: Database) {
    let master = TestMaster::start(database).await;
    let alice = master.user("alice").await;
    alice.patch(&alice.path()).json(json!({"password": "a quiet lake"})).await.ok();
    let login = json!({"username": "alice", "password": "a quiet lake"});
    for header in ["x-forwarded-for", "forwarded", "x-real-ip"] {
        let value = if header == "forwarded" { "for=192.0.2.7" } else { "192.0.2.7" };
        master.anon().post("/api/v1/auth/login").json(login.clone()).header(header, value).await.ok();
    }
    let log = master.admin().await.get("/api/v1/audit").await.ok().to_string();
    assert!(log.contains("127.0.0.1") && !log.contains("192.0.2.7"), "{log}");
    // Nor does a stranger's word make the way to a page encrypted.
    let page = master.anon().get("/login").header("x-forwarded-proto", "https").header("host", "192.0.2.9");
    assert!(page.await.text().contains("not encrypted"));
}
