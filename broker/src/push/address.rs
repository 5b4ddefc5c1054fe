//! Which addresses a stranger may have us call: those of the public internet (`reliability.md` 3,
//! T26), and none that lead into this machine, its networks or its cloud.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 networks that are not public: address and bits.
const CLOSED: [([u8; 4], u32); 15] = [
    ([0, 0, 0, 0], 8),
    ([10, 0, 0, 0], 8),
    ([100, 64, 0, 0], 10),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    ([172, 16, 0, 0], 12),
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    // Relays of 6to4.
    ([192, 88, 99, 0], 24),
    ([192, 168, 0, 0], 16),
    ([198, 18, 0, 0], 15),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Whether it is an address of the public internet.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let bits = ip.to_bits();
    let within = |(network, length): &([u8; 4], u32)| {
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(*length)).unwrap_or(0);
        bits & mask == u32::from_be_bytes(*network)
    };
    !CLOSED.iter().any(within)
}

/// Global unicast alone (2000::/3), so neither loopback, link-local, unique local nor any form that
/// hides an IPv4 address (mapped, compatible, NAT64); and of it neither Teredo and its neighbours
/// (2001::/23), 6to4 (2002::/16) nor what is for documentation.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, ..] = ip.segments();
    let is_global = first & 0xe000 == 0x2000;
    let is_special = match first {
        0x2001 => second < 0x0200 || second == 0x0db8,
        0x2002 => true,
        0x3fff => second < 0x1000,
        _ => false,
    };
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn nothing_leads_inside() {
        let closed = "0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 \
            127.255.255.254 169.254.169.254 169.254.0.1 172.16.0.1 172.31.255.255 192.0.0.1 \
            192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 192.168.255.255 198.18.0.1 \
            198.19.255.255 198.51.100.1 203.0.113.9 224.0.0.1 239.255.255.255 240.0.0.1 \
            255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 \
            64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1::1 \
            2001:2::1 2001:10::1 2001:20::1 2001:1ff::1 2001:db8::1 2002:7f00:1::1 \
            2002:a9fe:a9fe::1 3fff::1 3fff:fff::1 fc00::1 fd00:ec2::254 fdff::1 fe80::1 febf::1 \
            fec0::1 ff02::1 ff0e::1 4000::1 5f00::1";
        for address in closed.split_ascii_whitespace() {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn the_internet_is_open() {
        let open = "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.0.0.1 \
            128.0.0.1 169.253.0.1 169.255.0.1 172.15.255.255 172.32.0.0 192.0.1.1 192.167.0.1 \
            192.169.0.1 198.17.255.255 198.20.0.0 223.255.255.255 2001:200::1 2001:4860:4860::8888 \
            2003::1 2606:4700::1111 2a00:1450::1 3ffe::1 3fff:1000::1";
        for address in open.split_ascii_whitespace() {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
