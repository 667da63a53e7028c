//! Which addresses a provider may have, in every form in which an address can be written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds keep their metadata beside the link-local range: Alibaba, Oracle, Azure.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
/// The same in IPv6: Amazon, Google.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Addresses that no inference server has: "this network", link-local and metadata, multicast and reserved
/// ones, also where an IPv6 address only carries them. Loopback and private networks are where providers
/// live.
pub fn is_out_of_bounds(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address) || carried(address).into_iter().flatten().any(v4),
    }
}

fn v4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first == 0 || first >= 224 || address.is_link_local() || METADATA_V4.contains(&address)
}

fn v6(address: Ipv6Addr) -> bool {
    address.is_unspecified()
        || address.is_multicast()
        || (address.segments()[0] & 0xffc0) == 0xfe80
        || METADATA_V6.contains(&address)
}

/// The IPv4 addresses that a packet to this one may end at.
fn carried(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    let last = v4(g, h);
    match [a, b, c, d, e, f] {
        // Loopback is no IPv4 address.
        [0, 0, 0, 0, 0, 0] if g == 0 && h == 1 => [None, None],
        // Compatible, mapped, translated (RFC 4291, RFC 2765).
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] => [last, None],
        // NAT64 with the well-known prefix, and with one of the network's own (RFC 6052, RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0] => [last, None],
        [0x64, 0xff9b, 1, ..] => [last, v4(d, (e & 0xff) << 8 | f >> 8)],
        // 6to4 (RFC 3056).
        [0x2002, ..] => [v4(b, c), None],
        // Teredo: the server's address, and the client's turned over (RFC 4380).
        [0x2001, 0, ..] => [v4(c, d), v4(!g, !h)],
        // ISATAP (RFC 5214).
        [.., 0 | 0x200, 0x5efe] => [last, None],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_addresses_are_known_in_every_form() {
        let bad = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2002:a9fe:a9fe::",
            "2002:e000:1::1",
            "2001:0:a9fe:a9fe::1",
            "2001:0:102:304:0:0:5601:5601",
            "2001:0:102:304:0:0:9b9b:9b37",
            "fd00::5efe:169.254.169.254",
            "fd00::200:5efe:a9fe:a9fe",
        ];
        for text in bad {
            assert!(text.parse().is_ok_and(is_out_of_bounds), "{text}");
        }
        let good = [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.7",
            "172.16.0.1",
            "100.64.0.1",
            "8.8.8.8",
            "::1",
            "fd00::7",
            "fc00::1",
            "2606:4700::1111",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:a00:1::1",
            "64:ff9b::8.8.8.8",
            "2001:4860:4860::8888",
            "2001:0:102:304:0:0:f7f7:f7f7",
        ];
        for text in good {
            assert!(text.parse().is_ok_and(|address| !is_out_of_bounds(address)), "{text}");
        }
    }
}
