//! Client addresses and their prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address of Envoy's `ip:port` or `[ip]:port`, IPv4-mapped IPv6 folded to IPv4 (RFC 4291, section 2.5.5.2);
/// `None` for a Unix socket.
#[must_use]
pub fn parse(address: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(address).ok()?;
    let ip = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.rsplit_once(':') {
            Some((front, _)) if !front.contains(':') => front,
            _ => text,
        },
    };
    // A zone (`fe80::1%eth0`) is the server's own name for a link, not part of the address.
    let ip = ip.split_once('%').map_or(ip, |(front, _)| front);
    Some(ip.parse::<IpAddr>().ok()?.to_canonical())
}

/// `ip` cut to a prefix (lengths for IPv4 and IPv6), as text: `192.0.2.0/24`.
#[must_use]
pub fn masked(ip: IpAddr, (v4, v6): (u8, u8)) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(u32::from(32_u8.saturating_sub(v4))).unwrap_or(0);
            format!("{}/{v4}", Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(u32::from(128_u8.saturating_sub(v6))).unwrap_or(0);
            format!("{}/{v6}", Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_port() {
        for (text, want) in [
            ("192.0.2.7:443", Some("192.0.2.7")),
            ("192.0.2.7", Some("192.0.2.7")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[::ffff:192.0.2.7]:1", Some("192.0.2.7")),
            ("[fe80::1%eth0]:1", Some("fe80::1")),
            ("/var/run/x.sock", None),
            ("", None),
            ("[::1", None),
        ] {
            assert_eq!(parse(text.as_bytes()).map(|ip| ip.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn prefixes_mask() {
        let ip = |t: &str| t.parse().unwrap();
        assert_eq!(masked(ip("192.0.2.77"), (24, 48)), "192.0.2.0/24");
        assert_eq!(masked(ip("2001:db8:1:2::3"), (24, 48)), "2001:db8:1::/48");
        assert_eq!(masked(ip("192.0.2.77"), (32, 128)), "192.0.2.77/32");
    }
}
