//! What a packet of a task says, as far as the stack must know, and the packets that answer for somebody outside.

use std::net::{IpAddr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr,
    IpAddress, IpProtocol, IpVersion, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, TcpPacket, UdpPacket,
    UdpRepr,
};

/// Most bytes of a packet that its answer repeats: enough for the kernel of the task to know it again.
const QUOTED: usize = 128;
const HOP_LIMIT: u8 = 64;

/// One conversation of a task with somebody outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub(super) protocol: Protocol,
    pub(super) task: SocketAddr,
    pub(super) outside: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// A packet that the stack understands.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) flow: Flow,
    /// It opens a TCP connection.
    pub(super) opens: bool,
    /// What a UDP packet holds.
    pub(super) payload: &'a [u8],
}

/// Why somebody outside can't be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// There is no way.
    Route,
    /// There is one, and it isn't for tasks.
    Forbidden,
    /// Nobody listens (UDP).
    Port,
}

/// Reads a packet; `None` for what the stack doesn't carry: fragments, other protocols, damaged ones.
pub(super) fn parse(bytes: &[u8]) -> Option<Packet<'_>> {
    let (task, outside, protocol, payload): (IpAddr, IpAddr, _, _) = match IpVersion::of_packet(bytes).ok()? {
        IpVersion::Ipv4 => {
            let packet = Ipv4Packet::new_checked(bytes).ok()?;
            if packet.more_frags() || packet.frag_offset() != 0 {
                return None;
            }
            (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
        IpVersion::Ipv6 => {
            let packet = Ipv6Packet::new_checked(bytes).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.next_header(), packet.payload())
        }
    };
    let (protocol, from, to, opens, payload) = match protocol {
        IpProtocol::Tcp => {
            let tcp = TcpPacket::new_checked(payload).ok()?;
            let opens = tcp.syn() && !tcp.ack() && !tcp.rst();
            (Protocol::Tcp, tcp.src_port(), tcp.dst_port(), opens, &payload[..0])
        }
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(payload).ok()?;
            (Protocol::Udp, udp.src_port(), udp.dst_port(), false, udp.payload())
        }
        _ => return None,
    };
    if from == 0 || to == 0 {
        return None;
    }
    let flow = Flow { protocol, task: SocketAddr::new(task, from), outside: SocketAddr::new(outside, to) };
    Some(Packet { flow, opens, payload })
}

/// A UDP packet from outside to the task.
pub(super) fn datagram(flow: &Flow, payload: &[u8]) -> Option<Vec<u8>> {
    let udp = UdpRepr { src_port: flow.outside.port(), dst_port: flow.task.port() };
    let length = udp.header_len() + payload.len();
    let (from, to) = (IpAddress::from(flow.outside.ip()), IpAddress::from(flow.task.ip()));
    let checksums = ChecksumCapabilities::default();
    let (mut bytes, header) = with_header(from, to, IpProtocol::Udp, length)?;
    let mut packet = UdpPacket::new_unchecked(bytes.get_mut(header..)?);
    let fill = |place: &mut [u8]| place.copy_from_slice(payload);
    udp.emit(&mut packet, &from, &to, payload.len(), fill, &checksums);
    Some(bytes)
}

/// The answer to a packet of the task that can't be delivered.
pub(super) fn unreachable(packet: &[u8], why: Unreachable) -> Option<Vec<u8>> {
    let ignored = ChecksumCapabilities::ignored();
    let checksums = ChecksumCapabilities::default();
    match IpVersion::of_packet(packet).ok()? {
        IpVersion::Ipv4 => {
            let original = Ipv4Packet::new_checked(packet).ok()?;
            let header = Ipv4Repr::parse(&original, &ignored).ok()?;
            let data = original.payload();
            let reason = match why {
                Unreachable::Route => Icmpv4DstUnreachable::HostUnreachable,
                Unreachable::Forbidden => Icmpv4DstUnreachable::CommProhibited,
                Unreachable::Port => Icmpv4DstUnreachable::PortUnreachable,
            };
            let icmp =
                Icmpv4Repr::DstUnreachable { reason, header, data: data.get(..QUOTED).unwrap_or(data) };
            let (from, to) = (header.dst_addr.into(), header.src_addr.into());
            let (mut bytes, start) = with_header(from, to, IpProtocol::Icmp, icmp.buffer_len())?;
            icmp.emit(&mut Icmpv4Packet::new_unchecked(bytes.get_mut(start..)?), &checksums);
            Some(bytes)
        }
        IpVersion::Ipv6 => {
            let original = Ipv6Packet::new_checked(packet).ok()?;
            let header = Ipv6Repr::parse(&original).ok()?;
            let data = original.payload();
            let reason = match why {
                Unreachable::Route => Icmpv6DstUnreachable::AddrUnreachable,
                Unreachable::Forbidden => Icmpv6DstUnreachable::AdminProhibit,
                Unreachable::Port => Icmpv6DstUnreachable::PortUnreachable,
            };
            let icmp =
                Icmpv6Repr::DstUnreachable { reason, header, data: data.get(..QUOTED).unwrap_or(data) };
            let (from, to) = (header.dst_addr, header.src_addr);
            let length = icmp.buffer_len();
            let (mut bytes, start) = with_header(from.into(), to.into(), IpProtocol::Icmpv6, length)?;
            let mut place = Icmpv6Packet::new_unchecked(bytes.get_mut(start..)?);
            icmp.emit(&from, &to, &mut place, &checksums);
            Some(bytes)
        }
    }
}

/// A packet with its IP header, and where what it carries begins.
fn with_header(
    from: IpAddress,
    to: IpAddress,
    next_header: IpProtocol,
    length: usize,
) -> Option<(Vec<u8>, usize)> {
    let checksums = ChecksumCapabilities::default();
    match (from, to) {
        (IpAddress::Ipv4(src_addr), IpAddress::Ipv4(dst_addr)) => {
            let header =
                Ipv4Repr { src_addr, dst_addr, next_header, payload_len: length, hop_limit: HOP_LIMIT };
            let mut bytes = vec![0; header.buffer_len() + length];
            header.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[..]), &checksums);
            Some((bytes, header.buffer_len()))
        }
        (IpAddress::Ipv6(src_addr), IpAddress::Ipv6(dst_addr)) => {
            let header =
                Ipv6Repr { src_addr, dst_addr, next_header, payload_len: length, hop_limit: HOP_LIMIT };
            let mut bytes = vec![0; header.buffer_len() + length];
            header.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[..]));
            Some((bytes, header.buffer_len()))
        }
        _ => None,
    }
}
