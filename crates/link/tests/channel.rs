//! The channel over a carrier that a stranger holds: what he can read, change, leave out, repeat.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt as _, sink, stream};
use link::{CARRIED, Channel, Ends, Frame, Kind, LONGEST, LinkError, Secret, Wire, accept, initiate, splice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What the stranger does with a message: passes on these instead.
type Meddling = Box<dyn FnMut(usize, Bytes) -> Vec<Bytes> + Send>;

fn honest() -> Meddling {
    Box::new(|_, message| vec![message])
}

/// One direction, by way of the stranger.
fn direction(mut meddling: Meddling) -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    let (out, mut heard) = mpsc::channel::<Bytes>(4);
    let (say, incoming) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut number = 0;
        while let Some(message) = heard.recv().await {
            for message in meddling(number, message) {
                if say.send(message).await.is_err() {
                    return;
                }
            }
            number += 1;
        }
    });
    (out, incoming)
}

fn wire(out: mpsc::Sender<Bytes>, incoming: mpsc::Receiver<Bytes>) -> Wire {
    let out = sink::unfold(out, |out, message: Bytes| async move {
        out.send(message).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok::<_, io::Error>(out)
    });
    let incoming =
        stream::unfold(incoming, |mut incoming| async move { Some((Ok(incoming.recv().await?), incoming)) });
    Wire::new(out, incoming)
}

fn carriers(to_master: Meddling, to_agent: Meddling) -> (Wire, Wire) {
    let (up, up_end) = direction(to_master);
    let (down, down_end) = direction(to_agent);
    (wire(up, down_end), wire(down, up_end))
}

fn key() -> Secret {
    Secret::from_random(rand::random())
}

/// Agent's and master's ends.
async fn channels(to_master: Meddling, to_agent: Meddling) -> (Channel, Channel) {
    let (agent, master) = (key(), key());
    let (near, far) = carriers(to_master, to_agent);
    let (near, far) = tokio::join!(initiate(near, &agent, master.public()), accept(far, &master));
    let (near, mut far) = (near.expect("a channel"), far.expect("a channel"));
    assert_eq!((near.peer, far.peer), (master.public(), agent.public()));
    far.receiver.take_up_to(LONGEST);
    (near, far)
}

fn frame(kind: Kind, body: &[u8]) -> Frame {
    Frame { kind, body: Bytes::copy_from_slice(body) }
}

#[tokio::test]
async fn frames_of_every_length_arrive_whole_and_in_order() {
    let (mut near, mut far) = channels(honest(), honest()).await;
    // A piece has a first byte and the cipher's 16.
    let piece = CARRIED - 17;
    let lengths = [0, 1, 2, piece - 1, piece, piece + 1, 2 * piece, 2 * piece + 1, 1 << 20];
    let all: Vec<u8> = (0..1_u32 << 20).map(|n| ((n * 7) >> 3).to_le_bytes()[0]).collect();
    let sent = async {
        for length in lengths {
            near.sender.send(Kind::Data, &all[..length]).await.expect("sent");
        }
        near.sender.send(Kind::Message, b"{}").await.expect("sent");
        near.sender.alive().await.expect("sent");
        drop(near);
    };
    let received = async {
        for length in lengths {
            let next = far.receiver.next().await.expect("whole").expect("a frame");
            assert!(next == frame(Kind::Data, &all[..length]), "{length}");
        }
        assert_eq!(far.receiver.next().await.expect("whole"), Some(frame(Kind::Message, b"{}")));
        assert_eq!(far.receiver.next().await.expect("whole"), Some(frame(Kind::Alive, b"")));
        assert_eq!(far.receiver.next().await.expect("the end"), None);
    };
    tokio::join!(sent, received);
}

#[tokio::test]
async fn a_frame_without_end_is_refused() {
    let (mut near, mut far) = channels(honest(), honest()).await;
    far.receiver.take_up_to(100_000);
    let sent = tokio::spawn(async move { near.sender.send(Kind::Data, &vec![0; 1_000_000]).await });
    assert!(matches!(far.receiver.next().await, Err(LinkError::TooLong(100_000))));
    drop(far);
    sent.await.expect("no panic").expect_err("nobody listens");
}

/// U6: anybody who knows the master's public key gets as far as the first frame.
#[tokio::test]
async fn a06_who_is_not_known_yet_says_little() {
    let (agent, master) = (key(), key());
    let (near, far) = carriers(honest(), honest());
    let (near, far) = tokio::join!(initiate(near, &agent, master.public()), accept(far, &master));
    let (mut near, mut far) = (near.expect("a channel"), far.expect("a channel"));
    tokio::spawn(async move { near.sender.send(Kind::Message, &[0; 10_000]).await });
    assert!(matches!(far.receiver.next().await, Err(LinkError::TooLong(4096))));
}

#[tokio::test]
async fn a02_only_the_holder_of_the_key_can_answer() {
    let (agent, master, stranger) = (key(), key(), key());
    let (near, far) = carriers(honest(), honest());
    let (near, far) = tokio::join!(initiate(near, &agent, master.public()), accept(far, &stranger));
    assert!(matches!(far, Err(LinkError::Unproved(_))), "{far:?}");
    assert!(near.is_err(), "{near:?}");

    // One who says something all the same, of any length.
    for length in [0, 1, 16, 47, 48, 49, 96, 255, 256, 257, 70_000] {
        let nonsense = Bytes::from(vec![7; length]);
        let meddling: Meddling = Box::new(move |_, _| vec![nonsense.clone()]);
        let (near, far) = carriers(honest(), meddling);
        let (near, far) = tokio::join!(initiate(near, &agent, master.public()), accept(far, &master));
        assert!(matches!(near, Err(LinkError::Unproved(_) | LinkError::Protocol)), "{length}: {near:?}");
        drop(far);
        let nonsense = Bytes::from(vec![7; length]);
        let meddling: Meddling = Box::new(move |_, _| vec![nonsense.clone()]);
        let (near, far) = carriers(meddling, honest());
        let far = tokio::select! {
            far = accept(far, &master) => far,
            near = initiate(near, &agent, master.public()) => panic!("{near:?}"),
        };
        assert!(matches!(far, Err(LinkError::Unproved(_) | LinkError::Protocol)), "{length}: {far:?}");
    }
}

#[tokio::test]
async fn r28_a_recorded_beginning_proves_nothing() {
    let (agent, master) = (key(), key());
    let tape = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&tape);
    let recording: Meddling = Box::new(move |_, message| {
        recorder.lock().expect("whole").push(message.clone());
        vec![message]
    });
    let (near, far) = carriers(recording, honest());
    let (near, far) = tokio::join!(initiate(near, &agent, master.public()), accept(far, &master));
    let (mut near, _far) = (near.expect("a channel"), far.expect("a channel"));
    near.sender.send(Kind::Message, b"start something").await.expect("sent");
    near.sender.alive().await.expect("sent");
    tokio::task::yield_now().await;

    let (out, incoming) = mpsc::channel(4);
    let (answers, mut heard) = mpsc::channel(4);
    let played = tape.lock().expect("whole").clone();
    assert!(played.len() >= 2);
    let far = tokio::spawn(async move {
        let mut far = accept(wire(answers, incoming), &master).await.expect("it looks right so far");
        far.receiver.next().await
    });
    for message in played {
        let _ = out.send(message).await;
    }
    assert!(heard.recv().await.is_some());
    assert!(matches!(far.await.expect("no panic"), Err(LinkError::Tampered)));
}

/// What arrives of three frames when the messages go through the stranger's hands. The first is the handshake's.
async fn meddled(meddling: Meddling) -> (Vec<Bytes>, Option<LinkError>) {
    let (mut near, mut far) = channels(meddling, honest()).await;
    let sent = async {
        for body in ["one", "two", "three"] {
            let _ = near.sender.send(Kind::Message, body.as_bytes()).await;
        }
        drop(near);
    };
    let received = async {
        let mut bodies = Vec::new();
        loop {
            match far.receiver.next().await {
                Ok(Some(frame)) => bodies.push(frame.body),
                Ok(None) => return (bodies, None),
                Err(error) => return (bodies, Some(error)),
            }
        }
    };
    tokio::join!(sent, received).1
}

#[tokio::test]
async fn r28_what_is_changed_repeated_left_out_or_moved_is_refused() {
    let (bodies, error) = meddled(honest()).await;
    assert_eq!((bodies.len(), error.is_none()), (3, true));
    // Every bit of the second frame.
    for bit in 0..(4 + 16) * 8 {
        let (bodies, error) = meddled(Box::new(move |number, message| {
            let mut bytes = message.to_vec();
            if number == 2 {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            vec![bytes.into()]
        }))
        .await;
        assert_eq!(bodies, ["one"], "bit {bit}");
        assert!(matches!(error, Some(LinkError::Tampered)), "bit {bit}: {error:?}");
    }
    let twice =
        |number, message: Bytes| if number == 2 { vec![message.clone(), message] } else { vec![message] };
    let (bodies, error) = meddled(Box::new(twice)).await;
    assert_eq!(bodies, ["one", "two"]);
    assert!(matches!(error, Some(LinkError::Tampered)), "{error:?}");
    let without = |number, message| if number == 2 { vec![] } else { vec![message] };
    let (bodies, error) = meddled(Box::new(without)).await;
    assert_eq!(bodies, ["one"]);
    assert!(matches!(error, Some(LinkError::Tampered)), "{error:?}");
    let mut kept = None;
    let moved = move |number, message| match number {
        1 => {
            kept = Some(message);
            vec![]
        }
        2 => vec![message, kept.take().expect("the one before")],
        _ => vec![message],
    };
    let (bodies, error) = meddled(Box::new(moved)).await;
    assert_eq!(bodies, Vec::<Bytes>::new());
    assert!(matches!(error, Some(LinkError::Tampered)), "{error:?}");
    let shorter = |_, message: Bytes| vec![message.slice(..message.len().min(15))];
    let first_whole =
        move |number, message| if number == 0 { vec![message] } else { shorter(number, message) };
    let (bodies, error) = meddled(Box::new(first_whole)).await;
    assert!(bodies.is_empty() && matches!(error, Some(LinkError::Tampered)), "{error:?}");
}

#[tokio::test]
async fn r28_a_listener_reads_nothing() {
    let tape = Arc::new(Mutex::new(Vec::new()));
    let recorder = Arc::clone(&tape);
    let recording: Meddling = Box::new(move |_, message| {
        recorder.lock().expect("whole").extend_from_slice(&message);
        vec![message]
    });
    let (mut near, mut far) = channels(recording, honest()).await;
    let word = b"a word that nobody else may know";
    near.sender.send(Kind::Data, &word.repeat(3000)).await.expect("sent");
    assert_eq!(far.receiver.next().await.expect("whole").expect("a frame").body.len(), word.len() * 3000);
    let tape = tape.lock().expect("whole");
    assert!(tape.len() > word.len() * 3000);
    assert!(!tape.windows(8).any(|window| word.windows(8).any(|part| part == window)));
}

#[tokio::test]
async fn a_stream_goes_both_ways_and_ends() {
    let (near, far) = channels(honest(), honest()).await;
    let (client, client_side) = tokio::io::duplex(1 << 10);
    let (server, server_side) = tokio::io::duplex(1 << 10);
    let asking = tokio::spawn(splice(client_side, near.sender, near.receiver, Ends::There));
    let answering = tokio::spawn(splice(server_side, far.sender, far.receiver, Ends::Here));
    let served = tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(server);
        let mut asked = Vec::new();
        reader.read_to_end(&mut asked).await.expect("all of it");
        writer.write_all(&asked).await.expect("heard");
        asked.len()
    });
    let (mut reader, mut writer) = tokio::io::split(client);
    let question = vec![b'x'; 3_000_000];
    let asked = question.clone();
    let asked = tokio::spawn(async move {
        writer.write_all(&asked).await.expect("heard");
        writer.shutdown().await.expect("ended");
    });
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.expect("all of it");
    assert!(answer == question);
    assert_eq!(served.await.expect("no panic"), question.len());
    asked.await.expect("no panic");
    answering.await.expect("no panic").expect("a clean end");
    asking.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_not_kept() {
    let (near, far) = channels(honest(), honest()).await;
    let (mut client, client_side) = tokio::io::duplex(1 << 10);
    let (_nobody, server_side) = tokio::io::duplex(1 << 10);
    let _asking = tokio::spawn(splice(client_side, near.sender, near.receiver, Ends::There));
    let _answering = tokio::spawn(splice(server_side, far.sender, far.receiver, Ends::Here));
    let mut written = 0_usize;
    tokio::time::pause();
    // The clock runs on only when nothing else can: nobody takes any more.
    while let Ok(took) =
        tokio::time::timeout(std::time::Duration::from_secs(5), client.write(&[0; 1 << 10])).await
    {
        written += took.expect("open");
        assert!(written < 4 << 20, "somebody keeps it all");
    }
}

/// A carrier that panics when anything is asked of it after its first failure, as many sinks do; `gone` breaks it.
fn fragile(wire: (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>), gone: &CancellationToken) -> Wire {
    let (out, incoming) = wire;
    let (broken, gone) = (gone.clone(), gone.clone());
    let out = sink::unfold((out, broken), |(out, broken), message: Bytes| async move {
        if broken.is_cancelled() || out.send(message).await.is_err() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        Ok((out, broken))
    });
    let incoming = stream::unfold(incoming, move |mut incoming| {
        let gone = gone.clone();
        async move { Some((Ok(gone.run_until_cancelled(incoming.recv()).await??), incoming)) }
    });
    Wire::new(out.sink_map_err(io::Error::other), incoming)
}

/// F8: whatever breaks a carrier, what comes after is an error and no panic.
#[tokio::test]
async fn r45_a_broken_carrier_is_closed_without_a_panic() {
    let (agent, master) = (key(), key());
    let (up, up_end) = direction(honest());
    let (down, down_end) = direction(honest());
    let gone = CancellationToken::new();
    let (near, far) = (wire(up, down_end), fragile((down, up_end), &gone));
    let (near, far) = tokio::join!(initiate(near, &agent, master.public()), accept(far, &master));
    let (mut near, far) = (near.expect("a channel"), far.expect("a channel"));
    near.sender.send(Kind::Data, b"word").await.expect("sent");
    let (mut own, stream) = tokio::io::duplex(64);
    let splicing = tokio::spawn(splice(stream, far.sender, far.receiver, Ends::Here));
    let mut word = [0; 4];
    own.read_exact(&mut word).await.expect("carried");
    gone.cancel();
    // It is closed by the splice, after this has failed or the way in has ended.
    let _ = own.write_all(b"answer").await;
    assert!(splicing.await.expect("no panic").is_err());
}

#[tokio::test]
async fn r45_nothing_is_asked_of_a_carrier_that_has_failed() {
    let (agent, master) = (key(), key());
    let (up, up_end) = direction(honest());
    let (down, down_end) = direction(honest());
    let gone = CancellationToken::new();
    let (near, far) = (wire(up, down_end), fragile((down, up_end), &gone));
    let (near, far) = tokio::join!(initiate(near, &agent, master.public()), accept(far, &master));
    let (_near, mut far) = (near.expect("a channel"), far.expect("a channel"));
    gone.cancel();
    for _ in 0..3 {
        assert!(far.sender.send(Kind::Data, b"word").await.is_err());
        assert!(far.sender.alive().await.is_err());
        assert!(far.sender.close().await.is_err());
        assert!(matches!(far.receiver.next().await, Ok(None)));
    }
}
