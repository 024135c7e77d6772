//! What has come on a TLS connection and can't be read yet: a handshake, or a record without its end. TLS keeps it until it
//! is whole, below all that HTTP hears of, and anybody may begin one (A6, MB4).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

/// Most that is kept once something was read, in bytes: a record, and as much as is read at once.
const KEPT: usize = (18 << 10) + 4096;

/// How many times it is in memory: as it came, and what buffers have beyond (measured with thousands).
const HELD: usize = 2;

/// What strangers' connections may cost more, in bytes, before it is looked which of them have to go, …
const BETWEEN: usize = 8 << 20;

/// … and how long until one of them tries again to be heard.
const AGAIN: Duration = Duration::from_millis(5);

/// The count of one connection, which its stream and its life share.
#[derive(Debug, Default)]
pub struct Sealed {
    begun: AtomicBool,
    bytes: AtomicUsize,
    crowd: Arc<Crowd>,
    /// It is no stranger's any more.
    known: AtomicBool,
}

impl Sealed {
    /// Of a connection in a crowd.
    pub(super) fn among(crowd: &Arc<Crowd>) -> Self {
        Self { crowd: Arc::clone(crowd), ..Self::default() }
    }

    /// So many bytes came.
    pub(crate) fn came(&self, bytes: usize) {
        self.begun.store(true, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.costs_more(bytes.saturating_mul(HELD));
    }

    /// So many could be read.
    pub(crate) fn opened(&self, bytes: usize) {
        let rest = |held: usize| Some(held.saturating_sub(bytes).min(KEPT));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
    }

    /// All that came is done with, but what one read may have brought beyond.
    pub(crate) fn is_done_with(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Whether there is anything of TLS.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// What it costs this process, in bytes.
    pub(super) fn costs(&self) -> usize {
        self.bytes.load(Ordering::Relaxed).saturating_mul(HELD)
    }

    /// The connection costs so many bytes more.
    pub(super) fn costs_more(&self, bytes: usize) {
        if !self.known.load(Ordering::Relaxed) {
            self.crowd.costs_more(bytes);
        }
    }

    /// It is no stranger's any more.
    pub(super) fn is_known(&self) {
        self.known.store(true, Ordering::Relaxed);
    }

    /// Waits while too much of strangers' hasn't been looked at; `pause` is the caller's, from one call to the next.
    pub(crate) fn poll_turn(
        &self,
        pause: &mut Option<Pin<Box<Sleep>>>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        while self.crowd.is_too_much() && !self.known.load(Ordering::Relaxed) {
            ready!(pause.get_or_insert_with(|| Box::pin(sleep(AGAIN))).as_mut().poll(context));
            *pause = None;
        }
        *pause = None;
        Poll::Ready(())
    }
}

/// What strangers' connections cost more since it was last looked which of them have to go: between two looks it is no more
/// than [`BETWEEN`], however many they are and however fast (MB7).
#[derive(Debug, Default)]
pub(super) struct Crowd {
    more: AtomicUsize,
    due: Notify,
}

impl Crowd {
    fn costs_more(&self, bytes: usize) {
        if self.more.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= BETWEEN {
            self.due.notify_one();
        }
    }

    fn is_too_much(&self) -> bool {
        self.more.load(Ordering::Relaxed) >= BETWEEN
    }

    /// Resolves when it has to be looked at once.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    /// It was looked.
    pub(super) fn looked(&self) {
        self.more.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ::master::config::Encryption;
    use ::master::system::{Clock as _, SystemClock};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;

    use super::super::door::Door;
    use super::super::life::{Holder, Life};
    use super::super::limits::Limits;
    use super::super::registry::Registry;
    use super::super::stream::{Io, Watched};
    use super::*;
    use crate::Tls;
    use crate::origin::Hosts;
    use crate::peer::Source;
    use crate::tls::Encrypting;

    /// What is said in one record.
    const RECORD: usize = 16 << 10;

    struct Server {
        door: Door,
        connector: TlsConnector,
        _dir: tempfile::TempDir,
    }

    impl Server {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let names = Box::new(|| vec!["localhost".to_owned()]);
            let tls = Tls::open(&Encryption::Own, dir.path(), names, SystemClock.now()).unwrap();
            let pem = std::fs::read(dir.path().join("tls/authority.crt")).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let hosts = Hosts::new(&[], listener.local_addr().unwrap());
            let door = Door::Tcp { listener, acceptor: Arc::new(Encrypting::new(tls, hosts)) };
            Self { door, connector: TlsConnector::from(Arc::new(config)), _dir: dir }
        }

        /// A stranger's connection, what the master makes of it, and its life.
        async fn connect(&self) -> (TcpStream, impl Future<Output = Option<Box<dyn Io>>>, Arc<Life>) {
            let Door::Tcp { listener, .. } = &self.door else { unreachable!("a port") };
            let stranger = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let fresh = self.door.next(&Arc::default()).await.unwrap();
            let life = Life::new(fresh.peer.source(), Instant::now).over(fresh.sealed);
            let accepted = async { fresh.accepting.await.ok().flatten().map(|accepted| accepted.io) };
            (stranger, accepted, Arc::new(life))
        }
    }

    /// Waits until it costs more than by itself and `more`.
    async fn costs(life: &Life, more: usize) {
        let light = Life::new(life.source, Instant::now).costs();
        let dear = async {
            while life.costs() < light + more {
                tokio::task::yield_now().await;
            }
        };
        let counted = tokio::time::timeout(Duration::from_secs(20), dear).await;
        assert!(counted.is_ok(), "only {} bytes are counted", life.costs());
    }

    #[tokio::test]
    async fn a06_a_handshake_that_does_not_end_is_counted() {
        let server = Server::new().await;
        for beginning in [&[0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], b"GET / HTTP/1.1\r\nA: "] {
            let (mut stranger, accepted, life) = server.connect().await;
            stranger.write_all(beginning).await.unwrap();
            stranger.write_all(&[b'a'; RECORD / 2]).await.unwrap();
            tokio::select! {
                _ = accepted => panic!("it isn't whole"),
                () = costs(&life, RECORD) => {}
            }
        }
    }

    #[tokio::test]
    async fn a06_strangers_are_not_heard_until_it_was_looked_who_has_to_go() {
        let crowd = Arc::new(Crowd::default());
        let registry = Registry::new(Limits::new(&Default::default()));
        let stranger = |number| {
            let life = Life::new(Source::Uid(1), Instant::now).over(Arc::new(Sealed::among(&crowd)));
            let life = Arc::new(life);
            let (ours, theirs) = tokio::io::duplex(64 << 10);
            let place = registry.admit(number, &life).unwrap();
            (ours, Watched::new(Box::new(theirs), Arc::clone(&life), place), life)
        };
        let (mut says, mut heard, _) = stranger(1);
        let mut came = 0;
        while !crowd.is_too_much() {
            assert!(came * 7 < BETWEEN, "{came} bytes were heard");
            says.write_all(&[b'a'; 1024]).await.unwrap();
            came += heard.read(&mut [0; 1024]).await.unwrap();
        }
        crowd.due().await;
        says.write_all(b"more").await.unwrap();
        let (mut other_says, mut other, life) = stranger(2);
        other_says.write_all(b"more").await.unwrap();
        let mut more = [0; 4];
        {
            let mut reads = std::pin::pin!(heard.read(&mut more));
            for _ in 0..3 {
                assert!(futures_util::poll!(reads.as_mut()).is_pending());
                sleep(2 * AGAIN).await;
            }
            // Who is known is.
            life.is_known(Holder::Agent);
            assert_eq!(other.read(&mut [0; 4]).await.unwrap(), 4);
            crowd.looked();
            assert_eq!(reads.await.unwrap(), 4);
        }
    }

    #[tokio::test]
    async fn a06_a_record_that_does_not_end_is_counted() {
        let server = Server::new().await;
        let (stranger, accepted, life) = server.connect().await;
        let greeted = server.connector.connect(ServerName::try_from("localhost").unwrap(), stranger);
        let (greeted, io) = tokio::join!(greeted, accepted);
        let ((mut stranger, mut tls), mut io) = (greeted.unwrap().into_inner(), io.unwrap());
        let by_itself = life.costs();
        let mut record = Vec::new();
        std::io::Write::write_all(&mut tls.writer(), &[b'a'; RECORD - 1024]).unwrap();
        tls.write_tls(&mut record).unwrap();
        let (last, rest) = record.split_last().unwrap();
        stranger.write_all(rest).await.unwrap();
        let mut read = vec![0; RECORD];
        tokio::select! {
            _ = io.read(&mut read) => panic!("it isn't whole"),
            () = costs(&life, by_itself + RECORD) => {}
        }
        stranger.write_all(&[*last]).await.unwrap();
        let read = io.read(&mut read).await.unwrap();
        life.heard(read);
        life.answered(false);
        assert!(life.costs() < by_itself + RECORD, "what was answered is gone: {}", life.costs());
    }
}
