//! The task's network interface as smoltcp sees it: packets of one connection at a time.

use std::os::fd::OwnedFd;

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::network::MTU;

/// The interface, with the packet that was read from it.
pub(super) struct Link<'a> {
    pub(super) tun: &'a OwnedFd,
    pub(super) packet: Option<&'a [u8]>,
    /// Where packets are put together: longer than any.
    pub(super) buffer: &'a mut [u8],
}

/// Writes a packet. What the kernel doesn't take is lost, as on any wire.
pub(super) fn write(tun: &OwnedFd, packet: &[u8]) {
    let _ = rustix::io::write(tun, packet);
}

impl Device for Link<'_> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Sent<'t>
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let packet = self.packet.take()?;
        Some((Received(packet), Sent { tun: self.tun, buffer: self.buffer }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        Some(Sent { tun: self.tun, buffer: self.buffer })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU.into();
        // Nothing gets damaged between two kernels' memories; the other one checks all the same.
        capabilities.checksum.ipv4 = smoltcp::phy::Checksum::Tx;
        capabilities.checksum.tcp = smoltcp::phy::Checksum::Tx;
        capabilities
    }
}

pub(super) struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Sent<'a> {
    tun: &'a OwnedFd,
    buffer: &'a mut [u8],
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // The stack sends nothing longer than the MTU.
        let packet = &mut self.buffer[..len];
        let result = f(packet);
        write(self.tun, packet);
        result
    }
}
