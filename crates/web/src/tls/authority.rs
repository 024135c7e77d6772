//! `tls: self`: an authority of the installation's own, which is kept, and certificates of the listener, which aren't.
//!
//! The authority's key and certificate lie in `tls/` of the data directory, the key for our eyes only. It signs nothing
//! but this listener's certificates, which live in memory and are made anew at each start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use ::api::fingerprint::Fingerprint;
use domain::time::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::files::only_ours;
use super::{TlsError, provider};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Authorities are valid from here on: 2020-01-01.
const BEGINNING: Timestamp = Timestamp(1_577_836_800_000_000);
/// An authority outlives the installation.
const AUTHORITY: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
/// How long the listener's certificate is good.
const LEAF: Duration = Duration::from_secs(30 * 24 * 3600);
/// When a new one is made, counted from the making of the last.
const RENEWAL: Duration = Duration::from_secs(20 * 24 * 3600);
/// When it is tried again if that failed.
pub(super) const RETRY: Duration = Duration::from_secs(3600);

/// An authority of the installation's own.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    /// Opens the one in `dir`, or makes it.
    pub(super) fn open(dir: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let failed = |e: std::io::Error| TlsError::file(dir, e);
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let (key_file, file) = (dir.join("authority.key"), dir.join("authority.crt"));
        let key = match fs::read_to_string(&key_file) {
            Ok(text) => {
                only_ours(&key_file, 0o077)?;
                KeyPair::from_pem(&text).map_err(|e| TlsError::file(&key_file, e))?
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {
                if file.exists() {
                    // Never a new authority without being told to: everybody who trusts the old one would be refused.
                    return Err(TlsError::file(
                        &key_file,
                        format!(
                            "is missing: restore it, or remove {} too to make a new authority",
                            file.display()
                        ),
                    ));
                }
                let key = KeyPair::generate().map_err(|e| TlsError::Issue(e.to_string()))?;
                store(&key_file, key.serialize_pem().as_bytes())?;
                key
            }
            Err(e) => return Err(TlsError::file(&key_file, e)),
        };
        let params = description(&key, now);
        let certificate = match fs::read(&file) {
            Ok(bytes) => CertificateDer::from_pem_slice(&bytes)
                .map_err(|e| TlsError::file(&file, format!("is no certificate in PEM form: {e}")))?,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let made = params.self_signed(&key).map_err(|e| TlsError::Issue(e.to_string()))?;
                store(&file, made.pem().as_bytes())?;
                made.der().clone()
            }
            Err(e) => return Err(TlsError::file(&file, e)),
        };
        let belongs = CertifiedKey::from_der(vec![certificate.clone()], der(&key), &provider());
        belongs
            .map_err(|e| TlsError::file(&file, format!("doesn't belong to {}: {e}", key_file.display())))?;
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// A certificate for these names and addresses with the authority behind it, and when it is to be shown: before and
    /// after, another is to be made.
    pub(super) fn issue(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(CertifiedKey, Range<Timestamp>), TlsError> {
        let failed = |e: rcgen::Error| TlsError::Issue(e.to_string());
        let mut params = CertificateParams::new(names).map_err(|e| {
            TlsError::Issue(format!("{e}; see security.hosts in master.yaml ({})", names.join(", ")))
        })?;
        params.distinguished_name = named("Muster master");
        let from = Timestamp(now.0 - micros(DAY));
        params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(from.0);
        params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(now.plus(LEAF).0);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let leaf = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let chain = vec![leaf.der().clone(), self.certificate.clone()];
        let certified = CertifiedKey::from_der(chain, der(&key), &provider());
        let certified = certified.map_err(|e| TlsError::Issue(e.to_string()))?;
        Ok((certified, from..now.plus(RENEWAL)))
    }
}

/// What the authority says of itself. Its name follows from its key: two installations' authorities have two names,
/// and the name needn't be read back from the certificate.
fn description(key: &KeyPair, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    let short = Fingerprint::of(key.public_key_raw()).to_string();
    let short: String = short.split(':').skip(1).take(6).collect();
    params.distinguished_name = named(&format!("Muster installation {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Not by the clock of the first start, which may be wrong: everybody has to compare a new authority again.
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch(BEGINNING.0);
    let end = Timestamp(now.0.max(BEGINNING.0)).plus(AUTHORITY);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch(end.0);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut whole = DistinguishedName::new();
    whole.push(DnType::CommonName, name);
    whole
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn since_epoch(micros: i64) -> Duration {
    Duration::from_secs(u64::try_from(micros / 1_000_000).unwrap_or(0))
}

fn der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(key.serialize_der().into())
}

/// Writes a file that is whole or not there, for our eyes only.
fn store(file: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let new = file.with_extension("new");
    // Left over from a start that was killed; its mode may be anything.
    let _ = fs::remove_file(&new);
    let write = || {
        let mut out: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        fs::rename(&new, file)
    };
    write().map_err(|e| TlsError::file(file, e))
}
