//! What a task may not ask of its network.
//!
//! Some options of sockets are kept in memory that is in no limit, some of them any number of times (MA8, MD8). And who asks
//! for some things has the lock of all of the machine's network configuration (`rtnl_mutex`) while the kernel reads or
//! writes the task's memory, which takes as long as the task wants; meanwhile nobody's task starts (MD4).

use nix::libc;
use seccompiler::{BackendError, SeccompCmpOp, SeccompRule};

use super::{Rules, argument};

/// Labels for flows of IPv6 (IPV6_FLOWLABEL_MGR): the machine has 4096, and they stay a while (MA5).
const LABELS: u32 = 32;

/// Options of IPv6: memberships of groups and their filters (IPV6_JOIN_GROUP, IPV6_JOIN_ANYCAST, MCAST_*), and leaving them,
/// which has the lock; headers of what is sent (IPV6_2292PKTOPTIONS, IPV6_HOPOPTS, IPV6_RTHDRDSTOPTS, IPV6_RTHDR,
/// IPV6_DSTOPTS).
const OF_IPV6: [u32; 16] = [6, 20, 21, 27, 28, 42, 43, 44, 45, 46, 47, 48, 54, 55, 57, 59];

/// Memberships of groups of IPv4, their filters, and leaving them: from IP_ADD_MEMBERSHIP to MCAST_MSFILTER.
const OF_IPV4: std::ops::RangeInclusive<u32> = 35..=48;

/// Filters of groups that are asked for, with the lock: IP_MSFILTER and MCAST_MSFILTER.
const FILTERS: [(libc::c_int, u32); 3] =
    [(libc::IPPROTO_IP, 41), (libc::IPPROTO_IP, 48), (libc::IPPROTO_IPV6, 48)];

/// Requests with the lock: about an interface's hardware (SIOCETHTOOL), bridges (SIOCGIFBR, SIOCSIFBR), and VLANs (SIOCGIFVLAN,
/// SIOCSIFVLAN).
const REQUESTS: [u32; 5] = [0x8946, 0x8940, 0x8941, 0x8982, 0x8983];

/// Which interfaces there are (SIOCGIFCONF), told with the lock.
const INTERFACES: u32 = 0x8912;

/// What the task's shim answers (`crate::network::interfaces`), so that the lock is nobody's meanwhile.
pub(super) fn asked() -> Result<Rules, BackendError> {
    let rule = SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, INTERFACES)?])?;
    Ok([(libc::SYS_ioctl, vec![rule])].into())
}

/// What is refused with ENOPROTOOPT.
pub(super) fn options() -> Result<Rules, BackendError> {
    let of_ipv6 = OF_IPV6.into_iter().chain([LABELS]).map(|option| of(libc::IPPROTO_IPV6, option));
    let of_ipv4 = OF_IPV4.map(|option| of(libc::IPPROTO_IP, option));
    let filters = FILTERS.map(|(level, option)| of(level, option));
    Ok([
        (libc::SYS_setsockopt, of_ipv6.chain(of_ipv4).collect::<Result<_, _>>()?),
        (libc::SYS_getsockopt, filters.into_iter().collect::<Result<_, _>>()?),
    ]
    .into())
}

/// What is refused with EOPNOTSUPP, as by a network that has none of it.
pub(super) fn requests() -> Result<Rules, BackendError> {
    let request = |request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?]);
    Ok([(libc::SYS_ioctl, REQUESTS.into_iter().map(request).collect::<Result<_, _>>()?)].into())
}

fn of(level: libc::c_int, option: u32) -> Result<SeccompRule, BackendError> {
    let is = |index, value| argument(index, SeccompCmpOp::Eq, value);
    SeccompRule::new(vec![is(1, level.unsigned_abs())?, is(2, option)?])
}
