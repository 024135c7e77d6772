//! The device controller of version 2 cgroups, which is a program in the kernel (bpf(2), `BPF_PROG_TYPE_CGROUP_DEVICE`).
//! Which devices are allowed is in `devices`.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;

use crate::devices::Rule;

const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE: u32 = 6;

/// One instruction of the kernel's machine.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the lower half, source in the upper.
    registers: u8,
    offset: i16,
    value: i32,
}

/// The part of `union bpf_attr` that loading needs.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
}

/// The part that attaching needs.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Denies the processes of a cgroup all devices but these, for as long as the cgroup is there.
pub(crate) fn allow_devices(cgroup: BorrowedFd<'_>, rules: &[Rule]) -> io::Result<()> {
    let cannot = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let program = program(rules);
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: u32::try_from(program.len()).map_err(cannot)?,
        instructions: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    // SAFETY: `load` is the beginning of a `bpf_attr`, whose rest the kernel takes for zeroes; what it points to
    // outlives the call, which only reads it.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of_val(&load)) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us.
    let loaded = unsafe { OwnedFd::from_raw_fd(fd) };
    let attach = Attach {
        target: u32::try_from(cgroup.as_raw_fd()).map_err(cannot)?,
        program: u32::try_from(loaded.as_raw_fd()).map_err(cannot)?,
        kind: CGROUP_DEVICE,
        flags: 0,
    };
    // SAFETY: as above; the kernel keeps the program by itself.
    match unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of_val(&attach)) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The program: 1 for a device that a rule names, else 0. It gets a pointer to kind and access, major, minor.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let [load, and, jump_unless, set, exit] = [0x61, 0x54, 0x55, 0xb7, 0x95];
    let instruction = |code, registers, offset, value| Instruction { code, registers, offset, value };
    let mut program = vec![
        instruction(load, 0x12, 0, 0),
        instruction(and, 0x02, 0, 0xffff),
        instruction(load, 0x13, 4, 0),
        instruction(load, 0x14, 8, 0),
    ];
    for rule in rules {
        let kind = if rule.block { 1 } else { 2 };
        let mut tests = vec![(0x02, kind), (0x03, rule.major.cast_signed())];
        tests.extend(rule.minor.map(|minor| (0x04, minor.cast_signed())));
        for (left, (register, value)) in (0..tests.len()).rev().zip(tests) {
            // Over the tests that are left, and the two below.
            let offset = i16::try_from(left + 2).unwrap_or(2);
            program.push(instruction(jump_unless, register, offset, value));
        }
        program.extend([instruction(set, 0x00, 0, 1), instruction(exit, 0, 0, 0)]);
    }
    program.extend([instruction(set, 0x00, 0, 0), instruction(exit, 0, 0, 0)]);
    program
}
