//! A network interface whose packets a process reads and writes (the kernel's Documentation/networking/tuntap), and the
//! ports of a socket.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

/// Makes the interface in this process's network namespace; it lives as long as that does. Needs `CAP_NET_ADMIN` there.
pub(crate) fn open_tun(name: &str) -> io::Result<OwnedFd> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    let mut request = [0_u8; size_of::<libc::ifreq>()];
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    let flags = i16::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    let (place, rest) = request.split_at_mut(libc::IFNAMSIZ);
    // The last byte stays zero.
    for (to, from) in place[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    rest[..2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the kernel reads and writes one `ifreq`, which `request` is as long as; a name and flags are all that
    // this call looks at.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Else whoever closes the descriptor last waits some 20 ms until all the machine's processors know that the interface
    // has gone; the kernel takes down namespaces by itself, many at once. Best effort.
    // SAFETY: this call takes a number.
    let _ = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, 1) };
    Ok(file.into())
}

/// How long the kernel's word about one interface is.
pub(crate) const INTERFACE: usize = size_of::<libc::ifreq>();
/// So many interfaces are told at most.
const INTERFACES: usize = 1024;

/// The interfaces with addresses of IPv4 that a socket's network has, as `SIOCGIFCONF` tells them (netdevice(7)).
pub(crate) fn interfaces(socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut told = vec![0_u8; INTERFACE * INTERFACES];
    let ifc_len = libc::c_int::try_from(told.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let place = told.as_mut_ptr().cast();
    let mut asked = libc::ifconf { ifc_len, ifc_ifcu: libc::__c_anonymous_ifc_ifcu { ifcu_buf: place } };
    // SAFETY: the kernel reads and writes one `ifconf`, and at most `ifc_len` bytes where it leads, which `told` has.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFCONF, &raw mut asked) } != 0 {
        return Err(io::Error::last_os_error());
    }
    told.truncate(usize::try_from(asked.ifc_len).unwrap_or(0));
    Ok(told)
}

/// Options of socket(7) that libc doesn't name, and how many numbers the first one has.
const MEMINFO: libc::c_int = 55;
const NETNS_COOKIE: libc::c_int = 71;
const MEMINFO_NUMBERS: usize = 9;

/// How much memory a socket has (`SK_MEMINFO_*`).
pub(crate) fn meminfo(socket: BorrowedFd<'_>) -> io::Result<[u8; MEMINFO_NUMBERS * 4]> {
    option(socket, MEMINFO)
}

/// What tells a socket's network namespace from all others (Linux 5.14 and later).
pub(crate) fn namespace(socket: BorrowedFd<'_>) -> Option<u64> {
    option(socket, NETNS_COOKIE).ok().map(u64::from_ne_bytes)
}

fn option<const N: usize>(socket: BorrowedFd<'_>, which: libc::c_int) -> io::Result<[u8; N]> {
    let mut value = [0; N];
    let mut length = libc::socklen_t::try_from(N).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel writes at most `length` bytes, which `value` has, and the length itself.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            which,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// `IP_LOCAL_PORT_RANGE` of ip(7), which libc doesn't name.
const LOCAL_PORT_RANGE: libc::c_int = 51;

/// Has a socket that isn't bound yet take none of the machine's own ports below `first` (Linux 6.3 and later).
pub(crate) fn take_ports_from(socket: BorrowedFd<'_>, first: u16) -> io::Result<()> {
    // The last one is in the upper half; 0 is the machine's.
    let range = u32::from(first);
    let length = libc::socklen_t::try_from(size_of::<u32>()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads one number of the length passed, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            LOCAL_PORT_RANGE,
            (&raw const range).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
