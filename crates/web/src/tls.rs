//! TLS on the listener (D9): which certificate it shows, how that is kept fresh, and what a connection begins with.
//!
//! Only TLS 1.2 and 1.3, only HTTP/1.1. New connections get the newest good certificate; those that are open go on.

mod authority;
mod bounded;
mod files;
mod greeting;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ::api::fingerprint::Fingerprint;
use ::master::config::Encryption;
use ::master::system::Clock;
use domain::time::Timestamp;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, version};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use authority::Authority;
use bounded::Bounded;
use files::Watched;
pub(crate) use greeting::Encrypted;

use crate::origin::Hosts;
use crate::server::{Accepted, Accepting, Acceptor, Sealed};

/// How often it is looked whether a certificate was replaced or has to be renewed.
const LOOK: Duration = Duration::from_secs(2);

/// Why the listener can't be encrypted; the text names file and reason.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be used.
    #[error("{}: {reason}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A certificate can't be made.
    #[error("the installation's own authority can't make a certificate: {0}")]
    Issue(String),
}

impl TlsError {
    fn file(file: &Path, reason: impl ToString) -> Self {
        Self::File { file: file.to_owned(), reason: reason.to_string() }
    }
}

/// Under which names and addresses the listener can be reached; asked again from time to time.
pub type Names = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// What a listener is encrypted with. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    source: Arc<Mutex<Source>>,
    own: bool,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Where certificates come from.
enum Source {
    /// `fresh` is when the certificate is to be shown: by a clock that was set back it isn't valid yet.
    Own {
        authority: Authority,
        names: Names,
        named: Vec<String>,
        fresh: Range<Timestamp>,
    },
    Files(Watched),
}

/// The certificate that new connections get.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn get(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get())
    }
}

impl Tls {
    /// Reads the files, or opens the installation's own authority below `data_dir`, which is made at the first start.
    ///
    /// # Errors
    /// The file, and what is wrong with it.
    pub fn open(
        encryption: &Encryption,
        data_dir: &Path,
        names: Names,
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let (source, first) = match encryption {
            Encryption::Own => {
                let authority = Authority::open(&data_dir.join("tls"), now)?;
                let named = names();
                let (key, fresh) = authority.issue(&named, now)?;
                (Source::Own { authority, names, named, fresh }, key)
            }
            Encryption::Files(files) => {
                let (watched, key) = Watched::open(files.clone(), now)?;
                (Source::Files(watched), key)
            }
        };
        let own = matches!(source, Source::Own { .. });
        let shown = Arc::new(Shown(RwLock::new(Arc::new(first))));
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(|e| TlsError::Issue(e.to_string()))?
            .with_no_client_auth();
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Shown>::clone(&shown);
        let mut config = config.with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), shown, source: Arc::new(Mutex::new(source)), own })
    }

    /// The fingerprint of the last certificate of the chain: what people compare, and clients remember.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let shown = self.shown.get();
        Fingerprint::of(shown.cert.last().map_or(&[][..], |certificate| certificate.as_ref()))
    }

    /// The fingerprint of the listener's own certificate, which `det` shows. Another one with each renewal.
    #[must_use]
    pub fn own_fingerprint(&self) -> Fingerprint {
        let shown = self.shown.get();
        Fingerprint::of(shown.cert.first().map_or(&[][..], |certificate| certificate.as_ref()))
    }

    /// Says what clients will be shown from now on, for people to compare.
    fn tell_renewed(&self) {
        let (authority, own) = (self.fingerprint(), self.own_fingerprint());
        tracing::info!(%authority, %own, "the listener has a new certificate");
    }

    /// Whether the installation vouches for itself, so that people have to compare the fingerprint.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// Keeps the certificate fresh until the master stops.
    pub async fn keep(self, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = self.look_aside(clock.now()) => {}
            }
        }
    }

    /// [`Self::look`] on a thread of its own: a file system that hangs stops neither the runtime nor its end.
    fn look_aside(&self, now: Timestamp) -> oneshot::Receiver<()> {
        let (done, looked) = oneshot::channel();
        let tls = self.clone();
        let begun = std::thread::Builder::new().name("certificate".to_owned()).spawn(move || {
            tls.look(now);
            let _ = done.send(());
        });
        if let Err(error) = begun {
            tracing::warn!(%error, "it can't be looked whether the certificate was replaced");
        }
        looked
    }

    /// Looks once whether there is something newer to show. What can't be used changes nothing, and is told of once.
    pub fn look(&self, now: Timestamp) {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *source {
            Source::Files(watched) => {
                if let Some(key) = watched.look(now) {
                    self.shown.set(key);
                    self.tell_renewed();
                }
            }
            Source::Own { authority, names, named, fresh } => {
                let current = names();
                if current == *named && fresh.contains(&now) {
                    return;
                }
                match authority.issue(&current, now) {
                    Ok((key, next)) => {
                        self.shown.set(key);
                        (*named, *fresh) = (current, next);
                        self.tell_renewed();
                    }
                    Err(error) => {
                        tracing::error!("the certificate of the listener stays as it is: {error}");
                        // Not again at every look.
                        (*named, *fresh) = (current, now..now.plus(authority::RETRY));
                    }
                }
            }
        }
    }
}

/// The cryptography: ring's, whatever else is linked in.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// An encrypted port.
pub(crate) struct Encrypting {
    tls: Tls,
    hosts: Hosts,
}

impl Encrypting {
    pub(crate) fn new(tls: Tls, hosts: Hosts) -> Self {
        Self { tls, hosts }
    }
}

impl Acceptor for Encrypting {
    fn accept(&self, stream: TcpStream, sealed: Arc<Sealed>) -> Accepting {
        let (tls, hosts) = (self.tls.clone(), self.hosts.clone());
        Box::pin(async move {
            let stream = tls.accept(Bounded::new(stream, sealed), &hosts).await?;
            Ok(stream.map(|stream| Accepted { io: Box::new(stream), encrypted: true }))
        })
    }
}
