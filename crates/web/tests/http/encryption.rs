//! An encrypted port of a real master (D9): what is pinned to https, cookies (A9), and a certificate that is replaced
//! while connections come in. Certificates by themselves are tested beside `web::tls`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use master::config::{CertificateFiles, Encryption};
use master::system::{Clock as _, SystemClock};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use testkit::{Database, TestMaster, on_sqlite, soon};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

on_sqlite!(
    d09_hsts_is_for_names_with_a_supplied_certificate_alone,
    d09_new_connections_get_the_replaced_certificate,
);

/// Somebody's own authority, and where its certificate for `lab.example` and the like lies.
struct Supplied {
    dir: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Supplied {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("signed").der().clone();
        let new = Self { dir: tempfile::tempdir().expect("made"), authority: Issuer::new(params, key), root };
        new.renew();
        new
    }

    fn renew(&self) {
        let names = ["lab.example", "localhost", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().expect("a key");
        let leaf =
            CertificateParams::new(names).expect("valid").signed_by(&key, &self.authority).expect("signed");
        write(&self.dir.path().join("cert.pem"), &leaf.pem());
        write(&self.dir.path().join("key.pem"), &key.serialize_pem());
    }

    fn encryption(&self) -> Encryption {
        let file = |name: &str| self.dir.path().join(name);
        Encryption::Files(CertificateFiles { cert: file("cert.pem"), key: file("key.pem") })
    }
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("written");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("our own");
}

/// A second, encrypted port of a master.
async fn encrypted(master: &TestMaster, encryption: &Encryption, dir: &Path) -> (u16, web::Tls) {
    let names = Box::new(|| -> Vec<String> { ["localhost", "lab.example"].map(str::to_owned).into() });
    // The client below goes by the machine's clock, and the server looks by its own whether to renew.
    master.clock.set(SystemClock.now());
    let tls = web::Tls::open(encryption, dir, names, SystemClock.now()).expect("usable");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let app = web::App::new(master.services().clone(), address).encrypted(Some(tls.clone()));
    tokio::spawn(web::serve(vec![app.door(listener)], app));
    (address.port(), tls)
}

/// One request; gives the answer's head and body, and the certificate that was shown.
async fn ask(port: u16, root: &CertificateDer<'static>, request: &str) -> (String, Vec<u8>) {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("known").with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let name = ServerName::try_from("lab.example").expect("a name");
    let greeted = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let mut stream = soon("a handshake", greeted).await.expect("trusted");
    let shown = stream.get_ref().1.peer_certificates().expect("shown")[0].to_vec();
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    // Who closes without a farewell has said all the same.
    let _ = soon("an answer", stream.read_to_end(&mut answer)).await;
    (String::from_utf8_lossy(&answer).into_owned(), shown)
}

fn get(host: &str) -> String {
    format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

async fn d09_hsts_is_for_names_with_a_supplied_certificate_alone(database: Database) {
    let master = TestMaster::configured(database, |c| c.security.hosts.push("lab.example".to_owned())).await;
    let supplied = Supplied::new();
    let (port, _) = encrypted(&master, &supplied.encryption(), supplied.dir.path()).await;
    let pins = |answer: &str| answer.contains("strict-transport-security: max-age=");
    let (named, _) = ask(port, &supplied.root, &get(&format!("lab.example:{port}"))).await;
    assert!(named.starts_with("HTTP/1.1 200") && pins(&named), "{named}");
    for host in ["localhost", "127.0.0.1", "x.localhost", "[::1]:8080"] {
        let (near, _) = ask(port, &supplied.root, &get(host)).await;
        assert!(near.starts_with("HTTP/1.1 200") && !pins(&near), "{host}: {near}");
    }
    let dir = tempfile::tempdir().expect("made");
    let (port, _) = encrypted(&master, &Encryption::Own, dir.path()).await;
    let pem = fs::read(dir.path().join("tls/authority.crt")).expect("there");
    let root = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).expect("PEM");
    let (own, _) = ask(port, &root, &get("lab.example")).await;
    assert!(own.starts_with("HTTP/1.1 200") && !pins(&own), "{own}");
}

async fn d09_new_connections_get_the_replaced_certificate(database: Database) {
    let master = TestMaster::start(database).await;
    let supplied = Supplied::new();
    let (port, tls) = encrypted(&master, &supplied.encryption(), supplied.dir.path()).await;
    let (_, first) = ask(port, &supplied.root, &get("localhost")).await;
    supplied.renew();
    // The server looks for itself too; two looks that agree are enough.
    tls.look(master.clock.now());
    tls.look(master.clock.now());
    let (answer, second) = ask(port, &supplied.root, &get("localhost")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && first != second);
    write(&supplied.dir.path().join("cert.pem"), "broken");
    tls.look(master.clock.now());
    tls.look(master.clock.now());
    let (answer, third) = ask(port, &supplied.root, &get("localhost")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && second == third, "the old one stays");
}
