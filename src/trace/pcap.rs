//! A capture file of a trace's SIP messages: each a UDP datagram with the addresses and the time that it had. A message
//! of a stream becomes a datagram too: readers of captures know SIP in both.
//!
//! Format: libpcap, microseconds, link type `LINKTYPE_RAW` (packets begin with their IP header).

use std::net::IpAddr;
use std::net::SocketAddr;

use crate::trace::Direction;
use crate::trace::Entry;
use crate::trace::Event;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const LINKTYPE_RAW: u32 = 101;
const SNAP_LENGTH: u32 = 262_144;
const UDP: u8 = 17;
const TTL: u8 = 64;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// The capture, and how many packets it has.
pub fn capture(entries: &[Entry]) -> (Vec<u8>, usize) {
    let mut file = Vec::new();
    file.extend(MAGIC_MICROSECONDS.to_le_bytes());
    file.extend(2_u16.to_le_bytes());
    file.extend(4_u16.to_le_bytes());
    file.extend([0; 8]);
    file.extend(SNAP_LENGTH.to_le_bytes());
    file.extend(LINKTYPE_RAW.to_le_bytes());
    let mut packets = 0;
    for entry in entries {
        let Event::Sip { path, message, .. } = &entry.event else { continue };
        let (source, destination) = match path.direction {
            Direction::In => (path.remote, path.local),
            Direction::Out => (path.local, path.remote),
        };
        let Some(packet) = packet(source, destination, message) else { continue };
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        file.extend(u32::try_from(entry.at_us / 1_000_000).unwrap_or(u32::MAX).to_le_bytes());
        file.extend(u32::try_from(entry.at_us % 1_000_000).unwrap_or_default().to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(length.to_le_bytes());
        file.extend(packet);
        packets += 1;
    }
    (file, packets)
}

/// `None` where the addresses are not of one family, or the message is too long for a datagram: neither is ever traced.
fn packet(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(UDP_HEADER + payload.len()).ok()?;
    let mut udp = Vec::new();
    udp.extend(source.port().to_be_bytes());
    udp.extend(destination.port().to_be_bytes());
    udp.extend(udp_length.to_be_bytes());
    let (ip, pseudo) = match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let addresses = [source.octets(), destination.octets()].concat();
            let total = u16::try_from(IPV4_HEADER + UDP_HEADER + payload.len()).ok()?;
            let mut ip = vec![0x45, 0];
            ip.extend(total.to_be_bytes());
            // No identification, Don't Fragment (RFC 6864 4.1).
            ip.extend([0, 0, 0x40, 0, TTL, UDP]);
            let sum = checksum(&[&ip, &addresses]);
            ip.extend(sum.to_be_bytes());
            ip.extend(&addresses);
            (ip, addresses)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let addresses = [source.octets(), destination.octets()].concat();
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(udp_length.to_be_bytes());
            ip.extend([UDP, TTL]);
            ip.extend(&addresses);
            (ip, addresses)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let kind = [&[0, UDP][..], &udp_length.to_be_bytes()].concat();
    // Zero would say that there is no checksum (RFC 768).
    let sum = match checksum(&[&pseudo, &kind, &udp, &[0, 0], payload]) {
        0 => 0xffff,
        sum => sum,
    };
    udp.extend(sum.to_be_bytes());
    Some([ip, udp, payload.to_vec()].concat())
}

/// The Internet checksum (RFC 1071); every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let word = |chunk: &[u8]| {
        let high = chunk.first().copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([high, chunk.get(1).copied().unwrap_or_default()]))
    };
    let mut sum: u64 = words.map(|chunk| u64::from(word(chunk))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::trace::SipPath;

    fn entry(direction: Direction, addresses: [&str; 2], at_us: u64, message: &str) -> Entry {
        let [local, remote] = addresses.map(|address| address.parse().unwrap());
        let path = SipPath { direction, transport: "udp".into(), local, remote };
        let message = message.replace('\n', "\r\n").into_bytes();
        Entry { at_us, event: Event::Sip { path, start_line: String::new(), method: String::new(), message }, cut: 0 }
    }

    /// `tshark`'s fields of each packet, tab-separated.
    fn dissected(capture: &[u8], fields: &[&str]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("call.pcap");
        std::fs::write(&file, capture).unwrap();
        let mut command = Command::new("tshark");
        command.args([
            "-n",
            "-o",
            "udp.check_checksum:TRUE",
            "-o",
            "ip.check_checksum:TRUE",
            "-Y",
            "sip",
            "-T",
            "fields",
        ]);
        for field in fields {
            command.args(["-e", field]);
        }
        let output = command.arg("-r").arg(&file).output().expect("tshark (Debian package tshark) is needed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn tshark_reads_addresses_times_and_messages_and_finds_the_checksums_good() {
        let v4 = ["10.1.2.3:5060", "192.0.2.7:40000"];
        let v6 = ["[2001:db8::1]:5060", "[2001:db8::2]:5062"];
        let invite = "INVITE sip:1@h SIP/2.0\nCall-ID: a\nCSeq: 1 INVITE\nContent-Length: 0\n\n";
        let entries = [
            entry(Direction::In, v4, 1_700_000_000_123_456, invite),
            Entry { at_us: 0, event: Event::Media { name: "x".into(), detail: None }, cut: 0 },
            entry(Direction::Out, v6, 1_700_000_001_000_001, "SIP/2.0 200 OK\nCall-ID: a\nCSeq: 1 INVITE\nX: odd\n\n"),
        ];
        let (file, packets) = capture(&entries);
        assert_eq!(packets, 2);
        let fields = ["frame.time_epoch", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport"];
        let more = ["sip.Method", "sip.Status-Code", "udp.checksum.status", "ip.checksum.status"];
        let lines = dissected(&file, &[&fields[..], &more].concat());
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], "1700000000.123456000\t192.0.2.7\t10.1.2.3\t\t\t40000\t5060\tINVITE\t\t1\t1");
        assert_eq!(lines[1], "1700000001.000001000\t\t\t2001:db8::1\t2001:db8::2\t5060\t5062\t\t200\t1\t");
    }
}
