//! Mail, through a real server (X5, X11).

use std::process::Stdio;

use master::config::{Smtp, Tls};
use serde_json::{Value, json};
use testkit::{Database, Requests as _, TestMaster, env, on_both_databases, soon};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdout, Command};

on_both_databases!(x11_administrators_and_applicants_are_told, x11_mail_waits_for_its_server);

/// A server that takes mail and tells of it.
struct Server {
    lines: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

/// A port at which nobody listens, and that nobody else is given while this is there.
struct Port {
    number: u16,
    _socket: TcpSocket,
}

impl Port {
    fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Else the mail server may not listen there, either.
        socket.set_reuseaddr(true).expect("an option of every socket");
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        Self { number: socket.local_addr().expect("bound").port(), _socket: socket }
    }
}

impl Server {
    async fn start(port: &Port) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/smtp.py");
        let mut command = Command::new(env::python());
        command.arg(script).arg(port.number.to_string()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("Python starts");
        let stdout = process.stdout.take().expect("piped");
        let mut server = Self { lines: BufReader::new(stdout).lines(), _process: process };
        assert_eq!(server.line().await, "ready");
        server
    }

    async fn line(&mut self) -> String {
        let line = soon("the mail server", self.lines.next_line()).await;
        line.expect("readable").expect("the mail server goes on")
    }

    /// The next mail.
    async fn mail(&mut self) -> Value {
        serde_json::from_str(&self.line().await).expect("JSON")
    }
}

async fn master(database: Database, port: &Port) -> TestMaster {
    TestMaster::configured(database, |config| {
        config.cluster_name = "lab\r\nBcc: eve@lab.example".to_owned();
        config.bootstrap.admin.email = Some("root@lab.example".to_owned());
        config.smtp = Some(Smtp {
            host: "127.0.0.1".to_owned(),
            port: Some(port.number),
            from: "Muster <muster@lab.example>".to_owned(),
            tls: Tls::None,
            ..Smtp::default()
        });
    })
    .await
}

fn text(mail: &Value) -> &str {
    mail["text"].as_str().expect("text")
}

async fn x11_administrators_and_applicants_are_told(database: Database) {
    let port = Port::reserve();
    let mut server = Server::start(&port).await;
    let master = master(database, &port).await;
    let admin = master.admin().await;
    master.register("alice").await.ok();
    let asked = server.mail().await;
    assert_eq!((&asked["from"], &asked["to"]), (&json!("muster@lab.example"), &json!(["root@lab.example"])));
    assert!(text(&asked).contains("muster user activate alice"), "{asked}");
    assert!(asked["headers"].get("Bcc").is_none(), "{asked}");
    assert!(asked["headers"]["Content-Type"].as_str().is_some_and(|kind| kind.starts_with("text/plain")));

    for _ in 0..2 {
        admin.post("/api/v1/registrations/alice/accept").await.ok();
    }
    let accepted = server.mail().await;
    assert_eq!(accepted["to"], json!(["alice@lab.example"]));
    assert!(text(&accepted).contains("was accepted"), "{accepted}");

    master.register("bob").await.ok();
    server.mail().await;
    admin.post("/api/v1/registrations/bob/reject").await.ok();
    let rejected = server.mail().await;
    assert_eq!(rejected["to"], json!(["bob@lab.example"]), "and none twice");
    assert!(text(&rejected).contains("turned down"), "{rejected}");

    let invite = json!({"email": "carol@lab.example"});
    let code = admin.post("/api/v1/invitations").json(invite).await.ok()["code"].clone();
    let invited = server.mail().await;
    assert_eq!(invited["to"], json!(["carol@lab.example"]));
    let code = code.as_str().expect("a code");
    assert!(text(&invited).lines().any(|line| line.trim() == code), "alone on its line: {invited}");
}

async fn x11_mail_waits_for_its_server(database: Database) {
    let port = Port::reserve();
    let mut master = master(database, &port).await;
    master.register("alice").await.ok();
    // Nobody waits for a server that isn't there.
    assert_eq!(master.admin().await.get("/api/v1/me").await.status, 200);
    master.restart().await;
    let mut server = Server::start(&port).await;
    master.clock.advance(std::time::Duration::from_secs(3600));
    // Has the queue looked at, as the next minute would.
    let admin = master.admin().await;
    admin.patch(&admin.path()).json(json!({"displayName": "Root"})).await.ok();
    assert!(text(&server.mail().await).contains("alice (alice@lab.example"));
}
