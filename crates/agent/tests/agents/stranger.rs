//! Somebody else in the master's place, or on the way to it (A2, R28): he isn't obeyed, and reads and changes nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use api::agent::{CONNECT_PATH, ToAgent};
use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::get;
use domain::log::Source;
use link::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::support::{FakeMaster, TestAgent, output, shell, soon};

fn tasks(agent: &TestAgent) -> usize {
    std::fs::read_dir(agent.options.data_dir.join("tasks")).expect("there").count()
}

#[tokio::test]
async fn a02_who_holds_the_masters_port_is_not_obeyed() {
    let mut master = FakeMaster::start().await;
    let mut agent = TestAgent::registered(&master).await;
    master.go_away().await;

    // All that anybody may know, and all that a master of protocol 1 had to say.
    let start = serde_json::to_string(&ToAgent::Start(Box::new(shell("id > /tmp/stolen")))).expect("JSON");
    let lines = [
        r#"{"type":"challenge","nonce":"00","master_id":"master-1"}"#.to_owned(),
        r#"{"type":"welcome"}"#.to_owned(),
        start,
    ];
    let met = watch::Sender::new(0_usize);
    let counter = met.clone();
    let meet = async move |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            counter.send_modify(|met| *met += 1);
            let loud = counter.borrow().is_multiple_of(2);
            for line in lines {
                let message = if loud { Message::text(line) } else { Message::binary(line) };
                let _ = socket.send(message).await;
            }
            while let Some(Ok(_)) = socket.recv().await {}
        })
    };
    let listener = TcpListener::bind(master.address()).await.expect("the port is free");
    let router = Router::new().route(CONNECT_PATH, get(meet));
    let stranger = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut seen = met.subscribe();
    soon("four visits", seen.wait_for(|met| *met >= 4)).await.expect("counted");
    assert_eq!(tasks(&agent), 0);
    stranger.abort();
    let _ = stranger.await;

    // One who speaks as a master does, with a key of his own.
    let key = master.change(|seen| seen.key.replace(Secret::from_random([7; 32])));
    let openings = master.look(|seen| seen.openings);
    master.come_back().await;
    master.until("two visits", |seen| (seen.unproved >= 2).then_some(())).await;
    master.go_away().await;
    assert_eq!(master.look(|seen| seen.openings), openings, "nothing was said to him");

    master.change(|seen| seen.key = key);
    master.come_back().await;
    master.until("registration", |seen| (seen.registrations.len() == 2).then_some(())).await;
    let id = master.send_start(&shell("echo mine"));
    assert_eq!(master.exit(id).await.code, 0);
    agent.shut_down().await.expect("a clean end");
}

#[tokio::test]
async fn a02_an_invitation_is_told_to_its_master_alone() {
    let master = FakeMaster::start().await;
    let other = FakeMaster::start().await;
    let mut agent = TestAgent::new(&other.url(), Some(master.invitation()));
    agent.start();
    let error = agent.end().await.expect_err("another master").to_string();
    assert!(error.contains("doesn't prove the key"), "{error}");
    other.look(|seen| assert_eq!((seen.openings, seen.unproved), (0, 1)));
}

/// A relay between agent and master.
struct Relay {
    address: SocketAddr,
    tape: Arc<Mutex<Vec<u8>>>,
    /// It changes a bit of every frame.
    meddles: Arc<AtomicBool>,
    connections: watch::Receiver<usize>,
    _running: AbortOnDropHandle<()>,
}

impl Relay {
    async fn to(master: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let (tape, meddles) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (counter, connections) = watch::channel(0);
        let (recorder, switch) = (Arc::clone(&tape), Arc::clone(&meddles));
        let running = tokio::spawn(async move {
            let mut pairs = Vec::new();
            while let Ok((near, _)) = listener.accept().await {
                counter.send_modify(|count| *count += 1);
                let far = TcpStream::connect(master).await.expect("the master");
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                for pair in [
                    tokio::spawn(pass(near_in, far_out, Arc::clone(&recorder), Arc::default())),
                    tokio::spawn(pass(far_in, near_out, Arc::clone(&recorder), Arc::clone(&switch))),
                ] {
                    pairs.push(AbortOnDropHandle::new(pair));
                }
            }
        });
        Self { address, tape, meddles, connections, _running: AbortOnDropHandle::new(running) }
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    tape: Arc<Mutex<Vec<u8>>>,
    meddles: Arc<AtomicBool>,
) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        tape.lock().expect("whole").extend_from_slice(&bytes[..read]);
        // A frame of the WebSocket's, without a mask: the last byte is Noise's.
        if meddles.load(Ordering::SeqCst) && bytes[0] == 0x82 {
            bytes[read - 1] ^= 1;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

#[tokio::test]
async fn r28_a_relay_in_the_middle_reads_and_changes_nothing() {
    let master = FakeMaster::start().await;
    let mut relay = Relay::to(master.address()).await;
    let mut agent = TestAgent::new(&format!("http://{}", relay.address), Some(master.invitation()));
    agent.start();
    agent.wait_registered().await;
    let mut start = shell("echo a-word-of-the-log");
    start.env.push(("SECRET".to_owned(), "a-word-of-the-start".to_owned()));
    let id = master.send_start(&start);
    assert_eq!(master.exit(id).await.code, 0);
    master.look(|seen| assert_eq!(output(seen.log_of(id), Source::Stdout), "a-word-of-the-log\n"));
    {
        let tape = relay.tape.lock().expect("whole");
        let id = id.to_string();
        for word in ["a-word-of-the", "token-of-the-run", "an invitation", "allocation", id.as_str()] {
            let found = tape.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "'{word}' crosses the network in the clear");
        }
    }

    relay.meddles.store(true, Ordering::SeqCst);
    let before = *relay.connections.borrow_and_update();
    let id = master.send_start(&shell("echo never"));
    soon("new connections", relay.connections.wait_for(|count| *count >= before + 3)).await.expect("counted");
    assert!(!agent.task_dir(id).exists());
    relay.meddles.store(false, Ordering::SeqCst);
    let registered = master.until("registration", |seen| (seen.registrations.len() >= 2).then_some(()));
    registered.await;
    assert!(!agent.task_dir(id).exists());
    let id = master.send_start(&shell("true"));
    assert_eq!(master.exit(id).await.code, 0);
    agent.shut_down().await.expect("a clean end");
}
