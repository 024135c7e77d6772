//! What a task may not ask of the kernel (A14): what no training needs, and what faults of the kernel are reached by.
//! Everything else is allowed: a list of what is allowed would break what somebody needs tomorrow.
//!
//! Namespaces of its own are among it, unless the administrator wants containers inside tasks: whoever makes one is root
//! there, and what root may make is counted for nobody (G3, G4): pseudo-terminals, neighbours of a network, mounts. So are
//! programs of its own in the kernel, whose memory is one number for the machine (T1).
//!
//! Refused with the error that programs know best: ENOSYS where they then do without, EAFNOSUPPORT and EPROTONOSUPPORT for
//! kinds of sockets, ENOMEM for huge pages, EINVAL for filters, EOPNOTSUPP for clones of files, else EPERM. One question the
//! task's shim answers instead of the kernel (`network`). System calls of another architecture than the machine's own (32-bit
//! programs) end the process. The kernel remembers which calls are always allowed, so that those cost next to nothing.

mod clones;
mod core_files;
mod huge_pages;
mod namespaces;
mod network;
mod own_programs;
mod pinned;
mod program;
mod set_ids;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

pub(crate) use self::program::Pass;
use self::program::{Answer, Part, joined};
use crate::failure::Failure;
use crate::spec::Seccomp;
use crate::sys::notify;

/// As if the kernel had no such thing.
const MISSING: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // One number for all of the machine (fs.aio-max-nr); who would have it then uses threads, or says so.
    libc::SYS_io_setup,
    libc::SYS_io_destroy,
    libc::SYS_io_submit,
    libc::SYS_io_cancel,
    libc::SYS_io_getevents,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    // Where a file system can, it makes no copy, but files that share their space (`clones`).
    libc::SYS_copy_file_range,
];

/// Only for who looks after the machine, whatever namespace he is root of.
const FORBIDDEN: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
];

/// The same, where the architecture has them.
#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[libc::c_long] =
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_uselib, libc::SYS__sysctl, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[libc::c_long] = &[];

/// Kinds of sockets: of files, of the network, and to ask the kernel about the network.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// What may be asked by netlink: routes and addresses (the C library, NCCL), sockets (`ss`), devices that come and go
/// (udev's library), generic families and RDMA (libibverbs).
const NETLINK: [libc::c_int; 5] =
    [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG, libc::NETLINK_KOBJECT_UEVENT, libc::NETLINK_GENERIC, 20];

/// What is spoken over the network: the usual for a kind of socket, and ping. Others (SCTP, UDP-Lite, several ways for one
/// TCP connection) are known to few, and what waits in them is in tables of their own (`shim::queue_watch`).
const PROTOCOLS: [libc::c_int; 5] =
    [libc::IPPROTO_IP, libc::IPPROTO_ICMP, libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_ICMPV6];

/// How long the kernel goes on with a connection that is closed (TCP_LINGER2): longer than the usual minute it keeps the
/// socket for it, of which the whole machine has one number (`tcp_max_orphans`).
const TCP_LINGER2: u32 = 8;

/// Keys of single connections (TCP_MD5SIG, TCP_MD5SIG_EXT, TCP_AO_ADD_KEY), for routers: they take memory that is in no
/// limit, any number of them for a socket.
const TCP_KEYS: [u32; 3] = [14, 32, 38];

/// Reports about each datagram that couldn't be sent (IP_RECVERR, IPV6_RECVERR): they take memory that is in no limit
/// without anything being sent, so that nothing tells of it (`shim::queue_watch`). The C library's resolver asks for them,
/// needs none, and gives up where they are refused.
const REPORTS: [(libc::c_int, libc::c_int); 2] =
    [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];

/// Signals for what others do in a directory (F_NOTIFY): any number of them for each descriptor, and whoever opens or reads
/// something there pays for them (MA11). inotify took their place, of which the kernel counts how many somebody has.
const NOTICES: u32 = 1026;

/// Typing into somebody's terminal, and pasting.
const TERMINAL: [u32; 2] = [0x5412, 0x541c];

/// What `personality` may be asked for: asking, the usual one, and fixed addresses for debuggers.
const PERSONALITIES: [u32; 3] = [u32::MAX, 0, 0x0004_0000];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The filter, ready to be put on.
pub(crate) struct Filter {
    program: BpfProgram,
    /// Some calls are answered by another process.
    asks: bool,
}

impl Filter {
    /// Makes it: `usual` is what the administrator lets tasks have, `set_ids` refuses what would make files that give ids,
    /// and who shows the `pass` may do all the same what it refuses. `None` if there is nothing to refuse, and on an
    /// architecture that is not known here.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn new(usual: Seccomp, set_ids: bool, pass: Option<Pass>) -> Result<Option<Self>, Failure> {
        let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(None) };
        let parts = parts(arch, usual, set_ids);
        let mut parts =
            parts.map_err(|e| Failure::machine(format!("can't make the task's system call filter: {e}")))?;
        if parts.is_empty() {
            return Ok(None);
        }
        parts.extend(program::no_other_calls());
        let asks = parts.iter().any(|part| part.answer == Answer::Asked);
        Ok(Some(Self { program: joined(parts, pass), asks }))
    }

    /// Puts it on this process, for good. The process can't gain privileges any more from then on.
    ///
    /// A process with root's rights on the machine is not bound by the limit of the kernel's memory for programs, which is
    /// one for all of the machine and which anybody may use up (T1).
    ///
    /// Gives the descriptor by which another process answers some calls, if there are any and the kernel has such a thing.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn apply(&self) -> Result<Option<OwnedFd>, Failure> {
        notify::apply(&self.program, self.asks).map_err(|e| {
            Failure::machine(if is_out_of_memory(&e) {
                format!(
                    "this machine has no memory left for the task's system call filter ({e}): programs of its users have \
                     used it up, and an agent without root gets no more than they. End those, raise sysctl \
                     net.core.bpf_jit_limit, or start the agent as root"
                )
            } else {
                format!(
                    "this machine refuses the task's system call filter: {e}; set agent.seccomp: off to do without"
                )
            })
        })
    }
}

/// What a kernel says that has no room for the program, depending on its kind: EPERM, ENOMEM, or one of its own numbers.
fn is_out_of_memory(error: &std::io::Error) -> bool {
    const ENOTSUPP: i32 = 524;
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOMEM | ENOTSUPP))
}

/// The first that refuses a call answers for it.
fn parts(arch: TargetArch, usual: Seccomp, set_ids: bool) -> Result<Vec<Part>, seccompiler::BackendError> {
    let mut all = vec![];
    if usual != Seccomp::Off {
        all.extend([
            (missing(), libc::ENOSYS),
            (forbidden()?, libc::EPERM),
            (sockets()?, libc::EAFNOSUPPORT),
            (protocols()?, libc::EPROTONOSUPPORT),
            (options()?, libc::ENOPROTOOPT),
            (reports()?, 0),
            (network::options()?, libc::ENOPROTOOPT),
            (network::requests()?, libc::EOPNOTSUPP),
            (notices()?, libc::EINVAL),
            (clones::forbidden()?, libc::EOPNOTSUPP),
            (pinned::missing(), libc::ENOSYS),
            (pinned::policies(), libc::EPERM),
            (pinned::unpaid()?, libc::EINVAL),
            (huge_pages::taken()?, libc::ENOMEM),
            (huge_pages::unknown()?, libc::EINVAL),
        ]);
        if crate::core_files::are_forgone() {
            all.extend([(core_files::exchanged()?, libc::EPERM), (core_files::set()?, 0)]);
        }
    }
    if !usual.allows_filters() {
        all.extend([
            (own_programs::of_calls()?, libc::EINVAL),
            (own_programs::of_sockets()?, libc::ENOPROTOOPT),
            (own_programs::of_readers()?, 0),
            (own_programs::of_devices()?, libc::ENOTTY),
        ]);
    }
    if !usual.allows_namespaces() {
        all.extend([(namespaces::missing(), libc::ENOSYS), (namespaces::forbidden()?, libc::EPERM)]);
    }
    if set_ids {
        all.extend([(set_ids::missing(), libc::ENOSYS), (set_ids::forbidden()?, libc::EPERM)]);
    }
    let refused = all.into_iter().map(|(rules, error)| part(arch, rules, error, Answer::Error));
    // Whose network it is that a task's own namespaces are in, the shim doesn't know.
    let asked =
        (!usual.allows_namespaces()).then(|| part(arch, network::asked()?, libc::ENOTTY, Answer::Asked));
    refused.chain(asked).collect()
}

fn part(
    arch: TargetArch,
    rules: Rules,
    error: i32,
    answer: Answer,
) -> Result<Part, seccompiler::BackendError> {
    let errno = SeccompAction::Errno(error.unsigned_abs());
    let steps = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch)?.try_into()?;
    Ok(Part { steps, error, answer })
}

fn missing() -> Rules {
    MISSING.iter().map(|call| (*call, vec![])).collect()
}

fn forbidden() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = FORBIDDEN.iter().chain(FORBIDDEN_HERE).map(|call| (*call, vec![])).collect();
    let typing = TERMINAL.map(|request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?]));
    rules.insert(libc::SYS_ioctl, typing.into_iter().collect::<Result<_, _>>()?);
    rules.insert(libc::SYS_personality, vec![none_of(0, PERSONALITIES)?]);
    Ok(rules)
}

fn sockets() -> Result<Rules, seccompiler::BackendError> {
    let number = i32::unsigned_abs;
    let other_family = || none_of(0, FAMILIES.map(number));
    let mut netlink = conditions(2, NETLINK.map(number))?;
    netlink.push(argument(0, SeccompCmpOp::Eq, number(libc::AF_NETLINK))?);
    Ok([
        (libc::SYS_socket, vec![other_family()?, SeccompRule::new(netlink)?]),
        (libc::SYS_socketpair, vec![other_family()?]),
    ]
    .into())
}

fn protocols() -> Result<Rules, seccompiler::BackendError> {
    let others = |family: libc::c_int| {
        let mut protocols = conditions(2, PROTOCOLS.map(i32::unsigned_abs))?;
        protocols.push(argument(0, SeccompCmpOp::Eq, family.unsigned_abs())?);
        SeccompRule::new(protocols)
    };
    Ok([(libc::SYS_socket, vec![others(libc::AF_INET)?, others(libc::AF_INET6)?])].into())
}

fn options() -> Result<Rules, seccompiler::BackendError> {
    let tcp = || argument(1, SeccompCmpOp::Eq, libc::IPPROTO_TCP.unsigned_abs());
    let key = |option| SeccompRule::new(vec![tcp()?, argument(2, SeccompCmpOp::Eq, option)?]);
    let refused = TCP_KEYS.into_iter().chain([TCP_LINGER2]);
    Ok([(libc::SYS_setsockopt, refused.map(key).collect::<Result<_, _>>()?)].into())
}

fn notices() -> Result<Rules, seccompiler::BackendError> {
    let rule = SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, NOTICES)?])?;
    Ok([(libc::SYS_fcntl, vec![rule])].into())
}

/// What is answered as if it were done.
fn reports() -> Result<Rules, seccompiler::BackendError> {
    let one = |(level, option): (libc::c_int, libc::c_int)| {
        let at = |index, value: libc::c_int| argument(index, SeccompCmpOp::Eq, value.unsigned_abs());
        SeccompRule::new(vec![at(1, level)?, at(2, option)?])
    };
    Ok([(libc::SYS_setsockopt, REPORTS.into_iter().map(one).collect::<Result<_, _>>()?)].into())
}

/// The low half of an argument: the kernel looks at no more of these.
fn argument(index: u8, is: SeccompCmpOp, value: u32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, is, u64::from(value))
}

/// An argument has this bit.
fn has(index: u8, bit: u32) -> Result<SeccompCondition, seccompiler::BackendError> {
    argument(index, SeccompCmpOp::MaskedEq(bit.into()), bit)
}

/// An argument is none of these.
fn none_of<const N: usize>(index: u8, values: [u32; N]) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions(index, values)?)
}

fn conditions<const N: usize>(
    index: u8,
    values: [u32; N],
) -> Result<Vec<SeccompCondition>, seccompiler::BackendError> {
    values.into_iter().map(|value| argument(index, SeccompCmpOp::Ne, value)).collect()
}
