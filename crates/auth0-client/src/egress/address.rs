//! Classes of IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of IPv4 addresses.
struct Ipv4Block {
    network: Ipv4Addr,
    prefix: u32,
}

/// A block of IPv6 addresses.
struct Ipv6Block {
    network: Ipv6Addr,
    prefix: u32,
}

const fn v4(octets: [u8; 4], prefix: u32) -> Ipv4Block {
    let [a, b, c, d] = octets;
    Ipv4Block { network: Ipv4Addr::new(a, b, c, d), prefix }
}

const fn v6(first: u16, second: u16, prefix: u32) -> Ipv6Block {
    Ipv6Block { network: Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix }
}

/// Blocks that are not public: those of the IANA registry of special-purpose addresses, multicast,
/// and the metadata service of a cloud that has a public address.
const NOT_PUBLIC_V4: [Ipv4Block; 17] = [
    v4([0, 0, 0, 0], 8),        // "this network", with the unspecified address
    v4([10, 0, 0, 0], 8),       // private (RFC 1918)
    v4([100, 64, 0, 0], 10),    // shared, of carrier-grade NAT (RFC 6598)
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's metadata and DNS
    v4([169, 254, 0, 0], 16),   // link-local, with the metadata of most clouds
    v4([172, 16, 0, 0], 12),    // private (RFC 1918)
    v4([192, 0, 0, 0], 24),     // IETF protocol assignments, with the metadata of Oracle's cloud
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 31, 196, 0], 24),  // AS112
    v4([192, 88, 99, 0], 24),   // 6to4 relays
    v4([192, 168, 0, 0], 16),   // private (RFC 1918)
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, with the broadcast address
];

/// The block of global unicast addresses. Unspecified, loopback, IPv4-mapped, NAT64, unique local,
/// link-local and multicast addresses are outside of it.
const GLOBAL_UNICAST: Ipv6Block = v6(0x2000, 0, 3);

/// Blocks within [`GLOBAL_UNICAST`] that are not public.
const NOT_PUBLIC_V6: [Ipv6Block; 4] = [
    v6(0x2001, 0, 23), // IETF protocol assignments, with Teredo, which embeds IPv4 addresses
    v6(0x2001, 0xdb8, 32), // documentation
    v6(0x2002, 0, 16), // 6to4, which embeds IPv4 addresses
    v6(0x3fff, 0, 20), // documentation
];

impl Ipv4Block {
    fn contains(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.network.to_bits()) >> (32 - self.prefix) == 0
    }
}

impl Ipv6Block {
    fn contains(&self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.network.to_bits()) >> (128 - self.prefix) == 0
    }
}

/// Returns true if the address is one of the internet.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|block| block.contains(address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST.contains(address)
                && !NOT_PUBLIC_V6.iter().any(|block| block.contains(address))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internet_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "198.17.255.255",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn special_purpose_addresses_are_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::8.8.8.8",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:0:8.8.8.8",
            "64:ff9b::808:808",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:7",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }
}
