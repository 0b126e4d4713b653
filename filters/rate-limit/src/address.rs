//! Networks, and the client's address by an own rule.

use std::net::IpAddr;

use portcullis_common::config::from_text;
use portcullis_common::request::Request;
use portcullis_common::values::{Failure, address};
use serde::{Deserialize, Deserializer};

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    length: u8,
}

impl Network {
    /// Reads `192.0.2.0/24`, or one address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Network, String> {
        let bad = || "not a network".to_owned();
        let (ip, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let longest: u8 = if ip.is_ipv4() { 32 } else { 128 };
        let length: u8 = length.map_or(Ok(longest), |l| l.parse().map_err(|_| bad()))?;
        if length > longest {
            return Err(format!("/{length} is longer than the address, which has {longest} bits"));
        }
        // An IPv4-mapped network is a network of IPv4 addresses, which is what requests come from after folding.
        let (first, length) = match ip.to_canonical() {
            folded if folded != ip && length >= 96 => (folded, length.saturating_sub(96)),
            _ => (ip, length),
        };
        let network = Network { first, length };
        if !network.starts_at(first) {
            return Err(format!("{text} has bits behind its prefix"));
        }
        Ok(network)
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.first.is_ipv4() && bits(ip, self.length) == bits(self.first, self.length)
    }

    fn starts_at(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(v4) => v4.to_bits().checked_shl(u32::from(self.length)).unwrap_or(0) == 0,
            IpAddr::V6(v6) => v6.to_bits().checked_shl(u32::from(self.length)).unwrap_or(0) == 0,
        }
    }
}

/// The first `length` bits.
fn bits(ip: IpAddr, length: u8) -> u128 {
    let (value, width) = match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32_u32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    value.checked_shr(width.saturating_sub(u32::from(length))).unwrap_or(0)
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "an address or a network, such as \"192.0.2.0/24\"", Network::parse)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Network {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Network".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"})
    }
}

/// Which address of `x-forwarded-for` is the client's. Every proxy adds the address of its own peer at the right; what a client sent
/// itself stands at the left of all that, so the list is only ever read from the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// The one at this place from the right; 1 is the last.
    Place(usize),
    /// The first from the right that is in none of these.
    Trusted(Vec<Network>),
}

impl Forwarded {
    /// The client's address.
    ///
    /// # Errors
    /// [`Failure::Absent`] if the list is too short, [`Failure::Unusable`] if what stands there is no address. Never the next one to
    /// the left: that is the client's own word.
    pub fn client(&self, request: &Request) -> Result<IpAddr, Failure> {
        let lines: Vec<&[u8]> = request.headers.all("x-forwarded-for").collect();
        let mut entries = lines.iter().rev().flat_map(|line| line.rsplit(|b| *b == b','));
        let read = |entry: &[u8]| address::parse(entry.trim_ascii()).ok_or(Failure::Unusable);
        match self {
            Forwarded::Place(place) => read(entries.nth(place.saturating_sub(1)).ok_or(Failure::Absent)?),
            Forwarded::Trusted(networks) => {
                for entry in entries {
                    let ip = read(entry)?;
                    if !networks.iter().any(|n| n.contains(ip)) {
                        return Ok(ip);
                    }
                }
                Err(Failure::Absent)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    #[test]
    fn networks_hold_what_shares_their_prefix() {
        for (net, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "::1", "127.0.0.1"),
            ("::ffff:192.0.2.0/120", "192.0.2.9", "192.0.3.9"),
        ] {
            assert!(network(net).contains(inside.parse().unwrap()), "{net} {inside}");
            assert!(!network(net).contains(outside.parse().unwrap()), "{net} {outside}");
        }
        for bad in ["", "192.0.2.1/24", "192.0.2.0/33", "2001:db8::/129", "192.0.2", "a/8", "192.0.2.0/"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    /// What a client forges stands at the left; each rule gives what the nearest proxies saw, or nothing.
    #[test]
    fn forging_gains_nothing() {
        let trusted = Forwarded::Trusted(vec![network("10.0.0.0/8"), network("2001:db8:a::/48")]);
        let ip = |text: &str| Ok(text.parse::<IpAddr>().unwrap());
        for (lines, first, second, trust) in [
            (&["192.0.2.7"][..], ip("192.0.2.7"), Err(Failure::Absent), ip("192.0.2.7")),
            (&["1.1.1.1, 192.0.2.7, 10.0.0.1"], ip("10.0.0.1"), ip("192.0.2.7"), ip("192.0.2.7")),
            (&["1.1.1.1", "192.0.2.7,10.0.0.1"], ip("10.0.0.1"), ip("192.0.2.7"), ip("192.0.2.7")),
            (&["10.9.9.9, 192.0.2.7,10.0.0.1"], ip("10.0.0.1"), ip("192.0.2.7"), ip("192.0.2.7")),
            (&["forged, 192.0.2.7:4711"], ip("192.0.2.7"), Err(Failure::Unusable), ip("192.0.2.7")),
            (&["1.1.1.1, forged, 10.0.0.1"], ip("10.0.0.1"), Err(Failure::Unusable), Err(Failure::Unusable)),
            (&["1.1.1.1, , 10.0.0.1"], ip("10.0.0.1"), Err(Failure::Unusable), Err(Failure::Unusable)),
            (&["10.0.0.2, 10.0.0.1"], ip("10.0.0.1"), ip("10.0.0.2"), Err(Failure::Absent)),
            (&["[2001:db8::7]:80, 2001:db8:a::1"], ip("2001:db8:a::1"), ip("2001:db8::7"), ip("2001:db8::7")),
            (&["::ffff:192.0.2.7, ::ffff:10.0.0.1"], ip("10.0.0.1"), ip("192.0.2.7"), ip("192.0.2.7")),
            (&[], Err(Failure::Absent), Err(Failure::Absent), Err(Failure::Absent)),
            (&["1.1.1.1", ""], Err(Failure::Unusable), ip("1.1.1.1"), Err(Failure::Unusable)),
        ] {
            let request: Request = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            assert_eq!(Forwarded::Place(1).client(&request), first, "{lines:?}");
            assert_eq!(Forwarded::Place(2).client(&request), second, "{lines:?}");
            assert_eq!(trusted.client(&request), trust, "{lines:?}");
        }
    }
}
