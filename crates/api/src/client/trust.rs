//! Whom a client believes to be the master, when the connection is encrypted (D9).
//!
//! Without anything else: whoever shows a certificate for the master's name by an authority that the system or a given
//! file lists. With a fingerprint: only who shows a chain with that certificate in it, whatever the system lists.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version};

use crate::fingerprint::Fingerprint;

/// Whom to believe.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    pin: Option<Fingerprint>,
    listed: Vec<CertificateDer<'static>>,
}

/// A file of certificates can't be used; the text names it.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct BadCertificates {
    file: String,
    reason: String,
}

impl Trust {
    /// Only who shows a chain with this certificate in it.
    #[must_use]
    pub fn pinned(pin: Fingerprint) -> Self {
        Self { pin: Some(pin), listed: Vec::new() }
    }

    /// The authorities of the system, and those in a PEM file, as Determined's clients read `DET_MASTER_CERT_FILE`.
    ///
    /// # Errors
    /// When the file can't be read, or holds no certificate.
    pub fn with_file(file: &Path) -> Result<Self, BadCertificates> {
        let bad = |reason: String| BadCertificates { file: file.display().to_string(), reason };
        let bytes = std::fs::read(file).map_err(|e| bad(format!("can't be read: {e}")))?;
        let listed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let listed = listed.map_err(|e| bad(format!("isn't in PEM form: {e}")))?;
        if listed.is_empty() {
            return Err(bad("holds no certificate in PEM form".to_owned()));
        }
        Ok(Self { pin: None, listed })
    }

    /// A certificate is expected already: another one is a change, not a first contact.
    #[must_use]
    pub fn expects(&self) -> Option<Fingerprint> {
        self.pin
    }

    /// What is needed for connections, and where the peer's certificates are seen.
    pub(super) fn config(self, https: bool) -> Result<(ClientConfig, Seen), Error> {
        let provider = Arc::new(ring::default_provider());
        let seen = Seen::default();
        let verifier = Verifier {
            // Reading the system's list takes a while, and plain HTTP needs none.
            system: if https && self.pin.is_none() { Some(self.system(&provider)?) } else { None },
            pin: self.pin,
            provider: Arc::clone(&provider),
            seen: seen.clone(),
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok((config, seen))
    }

    fn system(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(self.listed.iter().cloned());
        verifier(roots, provider)
    }
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map_err(|e| Error::General(e.to_string()))
}

/// What the peer showed last. Clones see the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Option<Shown>>>);

/// A chain of certificates that a peer showed, and why it wasn't believed.
#[derive(Debug, Clone)]
pub struct Shown {
    /// DER, the peer's own first.
    pub chain: Vec<Vec<u8>>,
    /// Why it was refused, when it was.
    pub refused: Option<Refused>,
}

/// Why a chain was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It doesn't have the certificate that was expected.
    Changed {
        /// The expected one.
        expected: Fingerprint,
    },
    /// It leads to no authority that is known here.
    Unknown,
    /// It can't be good for anybody: wrong name, expired and the like.
    Bad(String),
}

impl Shown {
    /// The fingerprint of the last certificate: the authority's where the peer shows it, else the peer's own.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.chain.last().map_or(&[][..], Vec::as_slice))
    }
}

impl Seen {
    pub(super) fn get(&self) -> Option<Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, shown: Shown) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
    }
}

#[derive(Debug)]
struct Verifier {
    pin: Option<Fingerprint>,
    system: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    seen: Seen,
}

impl Verifier {
    /// The pinned certificate is the peer's own, whose key the handshake proves; or one that vouches for it.
    fn check_pinned(
        &self,
        pin: Fingerprint,
        (leaf, others): (&CertificateDer<'_>, &[CertificateDer<'_>]),
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Refused> {
        if Fingerprint::of(leaf) == pin {
            return Ok(());
        }
        let Some(known) = others.iter().find(|certificate| Fingerprint::of(certificate) == pin) else {
            return Err(Refused::Changed { expected: pin });
        };
        let bad = |e: Error| Refused::Bad(e.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(known.clone().into_owned()).map_err(bad)?;
        let verifier = verifier(roots, &self.provider).map_err(bad)?;
        verifier.verify_server_cert(leaf, others, name, &[], now).map_err(bad)?;
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match (self.pin, &self.system) {
            (Some(pin), _) => self.check_pinned(pin, (end_entity, intermediates), server_name, now),
            (None, Some(system)) => {
                let verified = system.verify_server_cert(end_entity, intermediates, server_name, &[], now);
                verified.map(drop).map_err(|error| match error {
                    Error::InvalidCertificate(
                        rustls::CertificateError::UnknownIssuer | rustls::CertificateError::Other(_),
                    ) => Refused::Unknown,
                    error => Refused::Bad(error.to_string()),
                })
            }
            (None, None) => Err(Refused::Unknown),
        };
        let chain = std::iter::once(end_entity).chain(intermediates).map(|der| der.to_vec()).collect();
        let refused = verdict.err();
        self.seen.set(Shown { chain, refused: refused.clone() });
        match refused {
            None => Ok(ServerCertVerified::assertion()),
            // What is told to people is made from what was seen.
            Some(_) => {
                Err(Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
