//! One program of all parts of a filter: each part knows one error, and what none of them refuses is allowed. One costs the
//! kernel less than many, at every start and in every system call.
//!
//! The launcher puts it on while it still has root's rights, and has a few calls left to do then that the task may not. So
//! it has a pass: numbers of chance in arguments that a call doesn't have. The kernel looks at none of those, the process
//! that knew them is gone when it has executed the command, and whoever would find them by trying tries 2^128 times. They
//! are compared without a jump between them, so that no time that it takes tells how much of a guess is right.

use std::fs::File;
use std::io::{self, Read};

use nix::libc;
use seccompiler::{BpfProgram, sock_filter};

/// Where arguments begin in what a program sees of a call, and how long one is.
const ARGUMENTS: u32 = 16;
/// No call that the launcher still needs has the last two.
const SPARE: [u32; 2] = [4, 5];

/// Cells of the kernel's machine: what is to be answered, and in how far the pass is none.
const ANSWER: u32 = 0;
const DIFFERS: u32 = 1;

/// Answers what the accumulator holds.
const RETURNS_ACCUMULATOR: u32 = 0x10;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

/// What only a task's launcher knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass([u64; 2]);

impl Pass {
    /// A new one.
    ///
    /// # Errors
    /// When the machine has no chance to give.
    pub(crate) fn new() -> io::Result<Self> {
        let mut bytes = [[0; 8]; 2];
        File::open("/dev/urandom")?.read_exact(bytes.as_flattened_mut())?;
        Ok(Self(bytes.map(u64::from_ne_bytes)))
    }

    /// The last two arguments of a system call that the filter is to let through.
    pub(crate) fn arguments(self) -> [u64; 2] {
        self.0
    }

    /// Lets a call through that has the pass; else the accumulator is as before.
    fn check(self) -> BpfProgram {
        let mut steps = vec![step(libc::BPF_ST, ANSWER), step(libc::BPF_LD | libc::BPF_IMM, 0)];
        steps.push(step(libc::BPF_ST, DIFFERS));
        for (index, value) in SPARE.into_iter().zip(self.0) {
            for (half, bytes) in value.to_ne_bytes().as_chunks::<4>().0.iter().enumerate() {
                let offset = ARGUMENTS + 8 * index + 4 * u32::from(half == 1);
                steps.extend([
                    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset),
                    step(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_K, u32::from_ne_bytes(*bytes)),
                    step(libc::BPF_LDX | libc::BPF_MEM, DIFFERS),
                    step(libc::BPF_ALU | libc::BPF_OR | libc::BPF_X, 0),
                    step(libc::BPF_ST, DIFFERS),
                ]);
            }
        }
        steps.extend([
            sock_filter { jf: 1, ..step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0) },
            returns(ALLOW),
            step(libc::BPF_LD | libc::BPF_MEM, ANSWER),
        ]);
        steps
    }
}

/// A part: what it doesn't allow.
pub(super) struct Part {
    pub(super) steps: BpfProgram,
    /// By which error the steps refuse.
    pub(super) error: i32,
    /// What is said instead.
    pub(super) answer: Answer,
}

/// What a call that isn't allowed gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The error.
    Error,
    /// What another process says (`sys::notify`).
    Asked,
}

/// Makes one program of all of them. Whoever shows the pass, if there is one, may do what they refuse.
pub(super) fn joined(parts: Vec<Part>, pass: Option<Pass>) -> BpfProgram {
    // Behind each part its answer is loaded, and behind all of them and what lets the rest through it is given.
    let end = parts.iter().map(|part| part.steps.len() + 2).sum::<usize>() + 1;
    let mut program = vec![];
    for Part { steps, error, answer } in parts {
        let refused = errno(error);
        let answer = if answer == Answer::Asked { libc::SECCOMP_RET_USER_NOTIF } else { refused };
        let (begin, len) = (program.len(), steps.len());
        program.extend(steps.into_iter().enumerate().map(|(at, step)| match &step {
            step if *step == returns(ALLOW) => jump(at, len + 2),
            step if *step == returns(refused) => jump(at, len),
            _ => step,
        }));
        program.extend([step(libc::BPF_LD | libc::BPF_IMM, answer), jump(begin + len + 1, end)]);
    }
    program.push(returns(ALLOW));
    program.extend(pass.map(Pass::check).unwrap_or_default());
    program.push(step(libc::BPF_RET | RETURNS_ACCUMULATOR, 0));
    program
}

/// On x86 the same calls have other numbers for programs with short pointers (x32), which no other part knows.
#[cfg(target_arch = "x86_64")]
pub(super) fn no_other_calls() -> Option<Part> {
    const X32: u32 = 0x4000_0000;
    let steps = vec![
        // The number of the call is what the kernel puts first.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        sock_filter { jf: 1, ..step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, X32) },
        returns(errno(libc::ENOSYS)),
        returns(ALLOW),
    ];
    Some(Part { steps, error: libc::ENOSYS, answer: Answer::Error })
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn no_other_calls() -> Option<Part> {
    None
}

fn step(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: 0, k }
}

fn returns(answer: u32) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, answer)
}

/// From one place of a program, or of a part, to a later one.
fn jump(from: usize, to: usize) -> sock_filter {
    step(libc::BPF_JMP | libc::BPF_JA, u32::try_from(to - from - 1).unwrap_or(0))
}

fn errno(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | error.unsigned_abs()
}
