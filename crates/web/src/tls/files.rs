//! `tls: {cert, key}`: a certificate in files, which may be replaced at any time.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::master::config::CertificateFiles;
use domain::time::Timestamp;
use rustix::fs::OFlags;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::{TlsError, provider};

/// Two files, and what they looked like when they were last read.
pub(super) struct Watched {
    files: CertificateFiles,
    read: Stamp,
    /// Seen at the last look. Files are read when two looks agree: who replaces two files needs a moment.
    seen: Stamp,
    /// The chain that is shown.
    shown: Vec<CertificateDer<'static>>,
    /// What was last said of it.
    doubt: Option<&'static str>,
    /// What was last said of a new one that waits: clients would refuse it, and take the one that is shown.
    waits: Option<&'static str>,
}

/// Changes when a file is replaced or written, or given other rights, also behind a symbolic link.
type Stamp = Option<[(u64, u64, [i64; 4]); 2]>;

/// Longest file that is read, in bytes; a long chain has some ten thousand.
const LONGEST: u64 = 1 << 20;

impl Watched {
    /// Reads them for the first time.
    pub(super) fn open(files: CertificateFiles, now: Timestamp) -> Result<(Self, CertifiedKey), TlsError> {
        let stamp = stamp(&files);
        let key = load(&files)?;
        let mut watched =
            Self { files, read: stamp, seen: stamp, shown: key.cert.clone(), doubt: None, waits: None };
        watched.judge(now);
        Ok((watched, key))
    }

    /// Says once what clients will say to the chain that is shown: it may also have run out meanwhile.
    fn judge(&mut self, now: Timestamp) {
        let doubt = doubt(&self.shown, now);
        if let Some(doubt) = doubt.filter(|_| doubt != self.doubt) {
            tracing::warn!("{}: {doubt}", self.files.cert.display());
        }
        self.doubt = doubt;
    }

    /// The new certificate, when there is one that can be used.
    pub(super) fn look(&mut self, now: Timestamp) -> Option<CertifiedKey> {
        let current = stamp(&self.files);
        let settled = current == self.seen;
        self.seen = current;
        self.judge(now);
        if !settled || current == self.read && self.waits.is_none() {
            return None;
        }
        self.read = current;
        match load(&self.files) {
            Ok(key) => {
                let file = self.files.cert.display();
                let waits = doubt(&key.cert, now).filter(|_| self.doubt.is_none());
                if let Some(why) = waits {
                    if self.waits != waits {
                        tracing::error!(
                            "{file} was replaced, and the old certificate stays while it is good: {why}"
                        );
                    }
                    self.waits = waits;
                    return None;
                }
                tracing::info!("new connections get the new certificate in {file}");
                (self.shown, self.waits) = (key.cert.clone(), None);
                self.judge(now);
                Some(key)
            }
            Err(error) => {
                self.waits = None;
                tracing::error!(
                    "the certificate was replaced by one that can't be used, the old one stays: {error}"
                );
                None
            }
        }
    }
}

fn stamp(files: &CertificateFiles) -> Stamp {
    let of = |file: &Path| {
        let found: Metadata = fs::metadata(file).ok()?;
        // Rights and owner show in the time of the last change of the file's own data.
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Some((found.ino(), found.size(), times))
    };
    Some([of(&files.cert)?, of(&files.key)?])
}

fn load(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let (cert, key) = (files.cert.as_path(), files.key.as_path());
    let bytes = read(cert)?;
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|e| TlsError::file(cert, format!("isn't in PEM form: {e}")))?;
    if chain.is_empty() {
        return Err(TlsError::file(
            cert,
            "holds no certificate: give PEM, the master's own certificate first",
        ));
    }
    let private = private_key(key)?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|e| match e {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::file(key, format!("is not the key of the first certificate in {}", cert.display()))
        }
        Error::InvalidCertificate(_) => {
            TlsError::file(cert, format!("its first certificate can't be used: {e}"))
        }
        e => TlsError::file(key, format!("can't be used as a private key: {e}")),
    })
}

/// A regular file of a bounded length. Nothing is waited for: opening a FIFO would be for ever.
fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |e: io::Error| TlsError::file(file, format!("can't be read: {e}"));
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let opened = File::options().read(true).custom_flags(nonblocking).open(file).map_err(unreadable)?;
    let found = opened.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(TlsError::file(file, "is no file"));
    }
    let mut bytes = Vec::new();
    opened.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(TlsError::file(
            file,
            format!("is longer than {LONGEST} bytes: that is no certificate or key"),
        ));
    }
    Ok(bytes)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(file)?;
    // A group for keys, such as Debian's `ssl-cert`, may read it.
    only_ours(file, 0o027)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|e| {
        let protected = bytes.windows(9).any(|part| part == b"ENCRYPTED");
        let reason = match e {
            pem::Error::NoItemsFound if protected => {
                "is protected by a passphrase, which nobody can type when the master starts: store the key without one"
                    .to_owned()
            }
            pem::Error::NoItemsFound => "holds no private key in PEM form".to_owned(),
            e => format!("isn't in PEM form: {e}"),
        };
        TlsError::file(file, reason)
    })
}

/// A key that others can read is no key. `forbidden` are the bits of the mode that it must not have.
pub(super) fn only_ours(file: &Path, forbidden: u32) -> Result<(), TlsError> {
    let found = fs::metadata(file).map_err(|e| TlsError::file(file, e))?;
    let mode = found.mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(TlsError::file(
            file,
            format!(
                "others on this machine can get at this key (mode {mode:04o}): chmod 600 it, and replace it if they had"
            ),
        ));
    }
    let us = rustix::process::geteuid().as_raw();
    if found.uid() != us && found.uid() != 0 {
        return Err(TlsError::file(
            file,
            format!("belongs to uid {}, who can read and replace it: chown it", found.uid()),
        ));
    }
    Ok(())
}

/// What clients will say to this chain, as far as it can be told from here: dates, and whether its parts belong together.
fn doubt(chain: &[CertificateDer<'static>], now: Timestamp) -> Option<&'static str> {
    let (leaf, others) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add(others.last().unwrap_or(leaf).clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()?;
    let time = UnixTime::since_unix_epoch(Duration::from_micros(u64::try_from(now.0).unwrap_or(0)));
    let any = ServerName::try_from("localhost").ok()?;
    match verifier.verify_server_cert(leaf, others, &any, &[], time).err()? {
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some("the certificate has expired: clients will refuse it")
        }
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Some("the certificate isn't valid yet: clients will refuse it"),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) if !others.is_empty() => Some(
            "the certificates in it don't lead from one to the next: give the whole chain, the master's own first",
        ),
        _ => None,
    }
}
