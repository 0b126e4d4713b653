//! Networks of addresses, as OpenFGA's `in_cidr` takes them.

use std::net::IpAddr;

/// Whether an address is in a network, written `10.0.0.0/8`; `None` if that is no network. A network of IPv6 addresses that stand for
/// IPv4 is one of IPv4.
pub(super) fn holds(network: &str, ip: IpAddr) -> Option<bool> {
    let (address, length) = network.split_once('/')?;
    let plain = !length.is_empty() && length.len() <= 3 && length.bytes().all(|b| b.is_ascii_digit());
    if !plain || (length.len() > 1 && length.starts_with('0')) {
        return None;
    }
    let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
    let width = if address.is_ipv4() { 32 } else { 128 };
    if length > width {
        return None;
    }
    let (address, length) = match (address, address.to_canonical()) {
        (IpAddr::V6(_), short @ IpAddr::V4(_)) if length >= 96 => (short, length.checked_sub(96)?),
        (_, short) => (if width == 32 { short } else { address }, length),
    };
    let same = |a: u128, b: u128, width: u32| {
        let rest = width.checked_sub(length)?;
        let top = |n: u128| n.checked_shr(rest).unwrap_or(0);
        Some(top(a) == top(b))
    };
    match (ip, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(u32::from(a)), u128::from(u32::from(b)), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(u128::from(a), u128::from(b), 128),
        _ => Some(false),
    }
}
