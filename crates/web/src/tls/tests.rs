//! Certificates: where they come from, how they are replaced, what is refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ::master::config::CertificateFiles;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp(1_790_000_000_000_000);

fn names(list: &'static [&'static str]) -> Names {
    Box::new(move || list.iter().map(|name| (*name).to_owned()).collect())
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 3600)
}

fn own(dir: &Path) -> Result<Tls, TlsError> {
    Tls::open(&Encryption::Own, dir, names(&["localhost", "127.0.0.1"]), NOW)
}

fn leaf(tls: &Tls) -> Fingerprint {
    Fingerprint::of(&tls.shown.get().cert[0])
}

/// A certificate of somebody else's authority, in files.
struct Supplied {
    dir: TempDir,
}

impl Supplied {
    fn new() -> Self {
        let new = Self { dir: tempfile::tempdir().unwrap() };
        new.renew();
        new
    }

    fn files(&self) -> CertificateFiles {
        CertificateFiles { cert: self.path("cert.pem"), key: self.path("key.pem") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn renew(&self) {
        self.renew_until(4096);
    }

    /// One that is good until that year.
    fn renew_until(&self, year: i32) {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["lab.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let leaf = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        self.write("cert.pem", &(leaf.pem() + &root.pem()));
        self.write("key.pem", &key.serialize_pem());
    }

    /// As a careful program replaces a file.
    fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn open(&self) -> Result<Tls, TlsError> {
        Tls::open(&Encryption::Files(self.files()), self.dir.path(), names(&[]), NOW)
    }

    fn refused(&self) -> String {
        self.open().expect_err("must be refused").to_string()
    }
}

#[test]
fn d09_the_authority_stays_and_its_key_is_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let first = own(dir.path()).unwrap();
    let again = own(dir.path()).unwrap();
    assert_eq!(first.fingerprint(), again.fingerprint());
    assert_ne!(leaf(&first), leaf(&again), "certificates of the listener aren't kept");
    assert_ne!(first.fingerprint(), own(tempfile::tempdir().unwrap().path()).unwrap().fingerprint());
    let key = dir.path().join("tls/authority.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let said = own(dir.path()).expect_err("must be refused").to_string();
    assert!(said.contains("authority.key") && said.contains("chmod 600"), "{said}");
    fs::remove_file(&key).unwrap();
    let said = own(dir.path()).expect_err("no new authority unasked").to_string();
    assert!(said.contains("authority.key: is missing"), "{said}");
}

#[test]
fn d09_certificates_renew_themselves_under_the_same_authority() {
    let dir = tempfile::tempdir().unwrap();
    let tls = own(dir.path()).unwrap();
    let (authority, first) = (tls.fingerprint(), leaf(&tls));
    tls.look(NOW.plus(days(19)));
    assert_eq!(leaf(&tls), first);
    tls.look(NOW.plus(days(20)));
    assert_ne!(leaf(&tls), first);
    assert_eq!(tls.fingerprint(), authority);
}

#[test]
fn d09_a_new_address_of_the_machine_gets_into_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(vec!["localhost".to_owned()]));
    let asked = Arc::clone(&seen);
    let tls = Tls::open(&Encryption::Own, dir.path(), Box::new(move || asked.lock().unwrap().clone()), NOW)
        .unwrap();
    let first = leaf(&tls);
    tls.look(NOW);
    assert_eq!(leaf(&tls), first);
    seen.lock().unwrap().push("192.0.2.7".to_owned());
    tls.look(NOW);
    assert_ne!(leaf(&tls), first);
    // A name that can't stand in a certificate changes nothing.
    let second = leaf(&tls);
    seen.lock().unwrap().push("bücher.example".to_owned());
    tls.look(NOW);
    assert_eq!(leaf(&tls), second);
}

#[test]
fn d09_replaced_files_count_without_a_restart() {
    let files = Supplied::new();
    let tls = files.open().unwrap();
    let first = leaf(&tls);
    tls.look(NOW);
    tls.look(NOW);
    assert_eq!(leaf(&tls), first);
    files.renew();
    tls.look(NOW);
    assert_eq!(leaf(&tls), first, "whoever replaces two files gets a moment");
    tls.look(NOW);
    assert_ne!(leaf(&tls), first);
}

#[test]
fn d09_a_broken_new_file_keeps_the_old_certificate() {
    let files = Supplied::new();
    let tls = files.open().unwrap();
    let first = leaf(&tls);
    let looks_twice = || {
        tls.look(NOW);
        tls.look(NOW);
    };
    files.write("cert.pem", "nonsense");
    looks_twice();
    assert_eq!(leaf(&tls), first);
    // The key of another certificate.
    files.write("key.pem", &KeyPair::generate().unwrap().serialize_pem());
    looks_twice();
    assert_eq!(leaf(&tls), first);
    fs::remove_file(files.path("cert.pem")).unwrap();
    looks_twice();
    assert_eq!(leaf(&tls), first);
    files.renew();
    looks_twice();
    assert_ne!(leaf(&tls), first);
}

#[test]
fn d09_a_certificate_that_clients_refuse_replaces_none_that_they_take() {
    let files = Supplied::new();
    files.renew_until(2027);
    let tls = files.open().unwrap();
    let first = leaf(&tls);
    let looks_twice = |now: Timestamp| {
        tls.look(now);
        tls.look(now);
    };
    files.renew_until(2020);
    looks_twice(NOW);
    assert_eq!(leaf(&tls), first, "the old one is good, the new one has expired");
    // Neither is good any more: who replaced it meant it.
    looks_twice(NOW.plus(days(400)));
    assert_ne!(leaf(&tls), first);
    files.renew();
    looks_twice(NOW);
    let good = leaf(&tls);
    files.renew_until(2020);
    looks_twice(NOW);
    assert_eq!(leaf(&tls), good);
    files.renew_until(2028);
    looks_twice(NOW);
    assert_ne!(leaf(&tls), good, "one that ends sooner is meant, too");
}

#[test]
fn d09_a_clock_that_was_ahead_leaves_nothing_that_is_not_valid_yet() {
    let dir = tempfile::tempdir().unwrap();
    let ahead = NOW.plus(days(400));
    let tls = Tls::open(&Encryption::Own, dir.path(), names(&["localhost"]), ahead).unwrap();
    let (authority, first) = (tls.fingerprint(), leaf(&tls));
    // The clock is set right.
    tls.look(NOW);
    assert_ne!(leaf(&tls), first);
    let second = leaf(&tls);
    tls.look(NOW);
    assert_eq!(leaf(&tls), second, "once");
    assert_eq!(tls.fingerprint(), authority);
    // Whoever trusts the authority as a certificate of its own looks at its dates, too.
    let chain = tls.shown.get().cert.clone();
    let begins = chain[1].windows(13).any(|part| part == b"200101000000Z");
    assert!(begins, "2020, whatever the clock said");
}

#[test]
fn d09_what_is_no_file_is_not_waited_for() {
    let files = Supplied::new();
    let tls = files.open().unwrap();
    let first = leaf(&tls);
    fs::remove_file(files.path("cert.pem")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, files.path("cert.pem"), rustix::fs::Mode::RUSR).unwrap();
    tls.look(NOW);
    tls.look(NOW);
    assert_eq!(leaf(&tls), first);
    assert!(files.refused().contains("cert.pem: is no file"), "{}", files.refused());
    files.write("cert.pem", &"x".repeat(2 << 20));
    assert!(files.refused().contains("cert.pem: is longer than 1048576 bytes"), "{}", files.refused());
    files.renew();
    tls.look(NOW);
    tls.look(NOW);
    assert_ne!(leaf(&tls), first);
}

#[test]
fn d09_a_key_that_was_given_other_rights_is_looked_at_again() {
    let files = Supplied::new();
    let tls = files.open().unwrap();
    let first = leaf(&tls);
    files.renew();
    fs::set_permissions(files.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
    tls.look(NOW);
    tls.look(NOW);
    assert_eq!(leaf(&tls), first, "others can read the key");
    fs::set_permissions(files.path("key.pem"), Permissions::from_mode(0o600)).unwrap();
    tls.look(NOW);
    tls.look(NOW);
    assert_ne!(leaf(&tls), first);
}

#[test]
fn d09_errors_name_file_and_reason() {
    let files = Supplied::new();
    let keep = fs::read_to_string(files.path("key.pem")).unwrap();
    fs::set_permissions(files.path("key.pem"), Permissions::from_mode(0o644)).unwrap();
    assert!(
        files.refused().contains("key.pem: others on this machine can get at this key (mode 0644)"),
        "{}",
        files.refused()
    );
    for (name, text, reason) in [
        (
            "key.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "key.pem: is protected by a passphrase",
        ),
        ("key.pem", "nothing", "key.pem: holds no private key"),
        (
            "key.pem",
            &KeyPair::generate().unwrap().serialize_pem(),
            "key.pem: is not the key of the first certificate in",
        ),
        ("cert.pem", "nothing", "cert.pem: holds no certificate"),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cert.pem: its first certificate can't be used",
        ),
    ] {
        files.write(name, text);
        let said = files.refused();
        assert!(said.contains(reason), "{said}");
        if name == "key.pem" {
            files.write("key.pem", &keep);
        }
    }
    fs::remove_file(files.path("cert.pem")).unwrap();
    assert!(files.refused().contains("cert.pem: can't be read"), "{}", files.refused());
}
