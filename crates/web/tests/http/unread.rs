//! What was written and nobody reads (A5, A7): the kernel holds little of it for each connection, and nothing for one that
//! isn't counted any more.

use std::time::Duration;

use testkit::{Database, Requests as _, TestMaster, on_sqlite, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::interval;

on_sqlite!(
    a05_what_nobody_reads_is_not_held_by_the_kernel,
    a05_a_connection_that_is_closed_before_all_is_read_has_its_place,
    a06_signs_of_life_that_nobody_reads_are_not_kept,
);

const REQUEST: &str = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n";

/// A connection with a small window.
async fn connect(master: &TestMaster) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    soon("a connection", socket.connect(master.address())).await.expect("connected")
}

/// Bytes that the kernel holds for the master's connections, largest last.
fn held(master: &TestMaster) -> Vec<u32> {
    let told = neighbour::all_unread(master.address().port()).expect("told");
    let mut held: Vec<u32> = told.into_iter().map(|(_, bytes)| bytes).collect();
    held.sort_unstable();
    held
}

/// The same once it doesn't change any more.
async fn held_in_the_end(master: &TestMaster, at_least: usize) -> Vec<u32> {
    let mut often = interval(Duration::from_millis(20));
    let settled = async {
        let (mut last, mut same) = (Vec::new(), 0);
        loop {
            often.tick().await;
            let now = held(master);
            same = if now == last && now.len() >= at_least { same + 1 } else { 0 };
            last = now;
            if same > 10 {
                return last;
            }
        }
    };
    soon("the end of all writing", settled).await
}

async fn a05_what_nobody_reads_is_not_held_by_the_kernel(database: Database) {
    const CROWD: usize = 8;
    let master = TestMaster::start(database).await;
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut stream = connect(&master).await;
        stream.write_all(format!("{REQUEST}\r\n").repeat(300).as_bytes()).await.expect("written");
        // What is read makes the kernel think that this one can take much.
        let mut some = vec![0; 6 << 20];
        soon("an answer", stream.read_exact(&mut some)).await.expect("read");
        crowd.push(stream);
    }
    let held = held_in_the_end(&master, CROWD).await;
    assert!(held.iter().all(|bytes| *bytes <= 512 << 10), "{held:?}");
    master.anon().get("/health").await.expect(200);
    // Whoever reads on has all of it.
    let mut stream = crowd.pop().expect("one of them");
    stream.shutdown().await.expect("nothing more to ask");
    let mut rest = Vec::new();
    let _ = soon("the rest", stream.read_to_end(&mut rest)).await;
    assert!(rest.len() > 300 << 10, "{}", rest.len());
}

async fn a05_a_connection_that_is_closed_before_all_is_read_has_its_place(database: Database) {
    const PLACES: usize = 4;
    let configure = |config: &mut master::Config| config.connections.max_per_address = 4;
    let master = TestMaster::configured(database, configure).await;
    let mut crowd = Vec::new();
    for _ in 0..6 * PLACES {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("small");
        let mut stream = soon("a connection", socket.connect(master.address())).await.expect("connected");
        stream.write_all(format!("{REQUEST}Connection: close\r\n\r\n").as_bytes()).await.expect("written");
        let mut beginning = [0; 15];
        soon("an answer", stream.read_exact(&mut beginning)).await.expect("read");
        assert_eq!(&beginning, b"HTTP/1.1 200 OK");
        crowd.push(stream);
    }
    let held = held_in_the_end(&master, 1).await;
    assert!(held.len() <= PLACES, "{held:?}");
    // The last ones are still there, and have all that they asked for.
    let mut rest = Vec::new();
    let mut last = crowd.pop().expect("one of them");
    soon("the rest", last.read_to_end(&mut rest)).await.expect("whole");
    assert!(rest.ends_with(b"}"), "{}", rest.len());
}

/// MB1: WebSocket's own, each of which is answered.
async fn a06_signs_of_life_that_nobody_reads_are_not_kept(database: Database) {
    const MANY: usize = 32 << 10;
    // A ping of 125 bytes, with a mask of zeros.
    let ping = |fill: u8| [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[fill; 125]].concat();
    let master = TestMaster::start(database).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("small");
    // What is written was read, but for little.
    socket.set_send_buffer_size(64 << 10).expect("small");
    let mut stream = soon("a connection", socket.connect(master.address())).await.expect("connected");
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        api::agent::CONNECT_PATH
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    soon("all of them", stream.write_all(&ping(1).repeat(MANY))).await.expect("written");
    stream.write_all(&ping(2)).await.expect("written");
    let mut came = Vec::new();
    let last = async {
        while !came.ends_with(&[2; 125]) {
            assert_ne!(stream.read_buf(&mut came).await.expect("read"), 0, "before the last one's answer");
        }
    };
    soon("the answer to the last one", last).await;
    assert!(came.len() < MANY * 127 / 2, "{} of {} bytes", came.len(), MANY * 127);
}
