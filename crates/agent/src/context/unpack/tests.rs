//! Archives that want more than they may (R44, R45).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::*;

/// An entry with exactly these bytes for a name: `tar`'s own setters refuse the names that matter here.
fn add(builder: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, mode: u32, body: &[u8]) {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_700_000_000);
    header.set_size(body.len().try_into().expect("small"));
    if matches!(kind, EntryType::Symlink | EntryType::Link) {
        header.set_link_name_literal("/etc/passwd").expect("short");
    }
    header.set_cksum();
    builder.append(&header, body).expect("in memory");
}

fn packed(fill: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    fill(&mut builder);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&builder.into_inner().expect("in memory")).expect("in memory");
    gzip.finish().expect("in memory")
}

fn unpack_at(dir: &Path, archive: &[u8]) -> Result<(), NotUnpacked> {
    let root = open_dir(CWD, dir.as_os_str()).expect("a directory");
    unpack_into(archive, &root, 100, 1 << 20)
}

fn temp() -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("temp dir");
    let work = temp.path().join("work");
    fs::create_dir(&work).expect("made");
    (temp, work)
}

#[test]
fn files_and_directories_arrive() {
    let (_temp, work) = temp();
    let archive = packed(|b| {
        add(b, EntryType::Directory, "shut/", 0o500, b"");
        add(b, EntryType::Regular, "shut/run.sh", 0o755, b"#!/bin/sh\n");
        add(b, EntryType::Regular, "./deep/er/x", 0o640, b"x");
        add(b, EntryType::Regular, "twice", 0o644, b"first");
        add(b, EntryType::Regular, "twice", 0o644, b"second");
        add(b, EntryType::Directory, "./", 0o000, b"");
    });
    unpack_at(&work, &archive).expect("harmless");
    let run = fs::metadata(work.join("shut/run.sh")).expect("there");
    assert_eq!((run.mode() & 0o7777, run.mtime()), (0o755, 1_700_000_000));
    assert_eq!(fs::metadata(work.join("shut")).expect("there").mode() & 0o7777, 0o500);
    assert_eq!(fs::metadata(work.join("deep/er/x")).expect("there").mode() & 0o7777, 0o640);
    assert_eq!(fs::read(work.join("twice")).expect("there"), b"second");
    assert_ne!(fs::metadata(&work).expect("there").mode() & 0o777, 0);
}

#[test]
fn r44_nothing_leads_out() {
    for name in ["../x", "a/../../x", "/x", "a/..", "..", "//x"] {
        let (temp, work) = temp();
        let refused = unpack_at(&work, &packed(|b| add(b, EntryType::Regular, name, 0o644, b"x")));
        assert!(refused.expect_err(name).to_string().contains("leads out"), "{name}");
        let refused = unpack_at(&work, &packed(|b| add(b, EntryType::Directory, name, 0o755, b"")));
        assert!(refused.is_err(), "{name}");
        assert!(!temp.path().join("x").exists(), "{name}");
    }
    // Names that only look like it are names.
    let (_temp, work) = temp();
    let archive = packed(|b| {
        for name in ["..x", "a\\..\\b", "%2e%2e", "c;d"] {
            add(b, EntryType::Regular, name, 0o644, b"x");
        }
    });
    unpack_at(&work, &archive).expect("harmless");
    assert_eq!(fs::read_dir(&work).expect("there").count(), 4);
}

#[test]
fn r44_links_that_are_there_are_not_followed() {
    let (temp, work) = temp();
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("file"), "kept").expect("written");
    symlink(&outside, work.join("dir")).expect("made");
    symlink(outside.join("file"), work.join("link")).expect("made");
    let through = unpack_at(&work, &packed(|b| add(b, EntryType::Regular, "dir/new", 0o644, b"x")));
    assert!(through.is_err());
    unpack_at(&work, &packed(|b| add(b, EntryType::Regular, "link", 0o644, b"x"))).expect("replaced");
    assert_eq!(fs::read(outside.join("file")).expect("there"), b"kept");
    assert!(!outside.join("new").exists());
    assert!(!fs::symlink_metadata(work.join("link")).expect("there").is_symlink());
}

#[test]
fn r45_only_plain_files_without_special_rights() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::Block,
        EntryType::GNUSparse,
    ] {
        let (_temp, work) = temp();
        let refused = unpack_at(&work, &packed(|b| add(b, kind, "x", 0o644, b"")));
        assert!(refused.is_err(), "{kind:?}");
        assert!(fs::symlink_metadata(work.join("x")).is_err(), "{kind:?}");
    }
    let (_temp, work) = temp();
    let archive = packed(|b| {
        add(b, EntryType::Regular, "s", 0o7755, b"x");
        add(b, EntryType::Directory, "d", 0o7777, b"");
    });
    unpack_at(&work, &archive).expect("harmless without the bits");
    for name in ["s", "d"] {
        let mode = fs::metadata(work.join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o7000, 0, "{name}");
    }
}

#[test]
fn r45_size_and_count_are_bounded() {
    let (_temp, work) = temp();
    let many = packed(|b| {
        for i in 0..101 {
            add(b, EntryType::Regular, &i.to_string(), 0o644, b"");
        }
    });
    assert!(unpack_at(&work, &many).expect_err("too many").to_string().contains("more than 100 entries"));
    let large = packed(|b| add(b, EntryType::Regular, "x", 0o644, &vec![0; 2 << 20]));
    assert!(large.len() < 64 << 10, "the point is that it is small when packed");
    assert!(unpack_at(&work, &large).expect_err("too large").to_string().contains("too large"));
    assert!(unpack_at(&work, b"not gzip").expect_err("damaged").to_string().contains("damaged"));
    let mut torn = packed(|b| add(b, EntryType::Regular, "y", 0o644, &[7; 5000]));
    torn.truncate(torn.len() / 2);
    assert!(unpack_at(&work, &torn).is_err());
}
