//! A FUSE file system as a user has it from `sshfs`: nobody but its owner may enter it, not even root. It holds a file
//! `hello`, a file `silent` that is never read to its first byte, and a directory `sub`, and nothing can be changed in it.
//! Served by a thread until it is unmounted. One with a gate answers for names that begin with `gate` when the test says so.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::machine::Machine;

pub(crate) const HELLO: &[u8] = b"hello from fuse\n";
/// The node of the file that isn't answered for.
const SILENT: u64 = 4;
const ENOENT: i32 = -2;
const ENOSYS: i32 = -38;

/// Where look-ups wait.
pub(crate) struct Gate {
    asked: Receiver<String>,
    go: Sender<()>,
}

impl Gate {
    /// Waits until somebody looks up a name; look-ups before that are answered.
    pub(crate) fn reached(&self, name: &str) {
        while self.asked.recv_timeout(Duration::from_secs(30)).expect("looked up") != name {
            self.open();
        }
    }

    /// Answers the look-up that waits.
    pub(crate) fn open(&self) {
        self.go.send(()).unwrap();
    }

    /// Answers all.
    pub(crate) fn open_for_good(self) {}
}

/// Mounts one on a machine, for the user with this uid and gid.
pub(crate) fn mount(machine: &Machine, at: &Path, owner: u32) {
    let _ = mount_gated(machine, at, owner);
}

/// The same with a gate.
pub(crate) fn mount_gated(machine: &Machine, at: &Path, owner: u32) -> Gate {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    // For `mount`; the test has a process of its own.
    rustix::io::fcntl_setfd(&device, rustix::io::FdFlags::empty()).unwrap();
    let options =
        format!("fd={},rootmode=40000,user_id={owner},group_id={owner},nosuid,nodev", device.as_raw_fd());
    let mut command = machine.enter();
    let status = command.args(["mount", "-i", "-t", "fuse.test", "-o", &options, "test"]).arg(at).status();
    assert!(status.unwrap().success());
    let (asks, asked) = channel();
    let (go, waits) = channel();
    std::thread::spawn(move || serve(device, owner, &asks, &waits));
    Gate { asked, go }
}

/// Answers until the file system is gone.
fn serve(mut device: File, owner: u32, asks: &Sender<String>, go: &Receiver<()>) {
    let mut request = vec![0; 1 << 17];
    while let Ok(len) = device.read(&mut request) {
        let number = |at: usize| u32::from_le_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(request[at..at + 8].try_into().unwrap());
        let (opcode, unique, node) = (number(4), long(8), long(16));
        let name = request[40..len].split(|b| *b == 0).next().unwrap_or_default();
        let reply: Result<Vec<u8>, i32> = match opcode {
            // LOOKUP
            1 => match name {
                b"hello" => Ok(entry(2, owner)),
                b"sub" => Ok(entry(3, owner)),
                b"silent" => Ok(entry(SILENT, owner)),
                name if name.starts_with(b"gate") => {
                    // Without a gate any more, it is answered at once.
                    if asks.send(String::from_utf8_lossy(name).into_owned()).is_ok() {
                        let _ = go.recv();
                    }
                    Ok(entry(2, owner))
                }
                _ => Err(ENOENT),
            },
            // FORGET and BATCH_FORGET have no answer.
            2 | 42 => continue,
            // GETATTR
            3 => Ok([vec![0; 16], attributes(node, owner)].concat()),
            // OPEN and OPENDIR
            14 | 27 => Ok(vec![0; 16]),
            15 if node == SILENT => continue,
            // READ
            15 => Ok(if long(48) == 0 { HELLO.to_vec() } else { vec![] }),
            // INIT: version 7.31 and no feature.
            26 => {
                let mut out = [7_u32, 31, 0, 0, 0, 4096].map(u32::to_le_bytes).concat();
                out.resize(64, 0);
                Ok(out)
            }
            // READDIR, FLUSH, RELEASE, RELEASEDIR
            28 | 25 | 18 | 29 => Ok(vec![]),
            _ => Err(ENOSYS),
        };
        let (error, body) = match reply {
            Ok(body) => (0, body),
            Err(error) => (error, vec![]),
        };
        let len = u32::try_from(16 + body.len()).unwrap();
        let head = [&len.to_le_bytes()[..], &error.to_le_bytes(), &unique.to_le_bytes()].concat();
        let _ = device.write(&[head, body].concat());
    }
}

fn entry(node: u64, owner: u32) -> Vec<u8> {
    let mut out = node.to_le_bytes().to_vec();
    out.resize(40, 0);
    out.extend(attributes(node, owner));
    out
}

/// Nodes 2 and 4 are files, all others are directories.
fn attributes(node: u64, owner: u32) -> Vec<u8> {
    let (mode, size) =
        if [2, SILENT].contains(&node) { (0o100_600_u32, HELLO.len()) } else { (0o040_700, 0) };
    let long = [node, size as u64, 0, 0, 0, 0].map(u64::to_le_bytes).concat();
    let short = [0, 0, 0, mode, 1, owner, owner, 0, 4096, 0].map(u32::to_le_bytes).concat();
    [long, short].concat()
}
