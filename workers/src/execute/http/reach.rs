//! Which addresses `builtin/http` may reach: those of the public internet, and what the operator
//! allows. It looks at addresses only; names are resolved elsewhere.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// What an operator allows besides the public internet: a host or a network, and perhaps one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Host(String),
    Net(IpAddr, u8),
}

impl FromStr for Allow {
    type Err = String;

    /// `intranet.example`, `intranet.example:8080`, `10.0.0.0/8`, `127.0.0.1:9000`, `[::1]:80`.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || {
            format!("`{text}` is neither a host, nor host:port, nor a network such as 10.0.0.0/8")
        };
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| wrong())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits: u8 = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(wrong)?;
            return Ok(Self { what: What::Net(address, bits), port: None });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::single(address, None));
        }
        if let Ok(address) = text.parse::<std::net::SocketAddr>() {
            return Ok(Self::single(address.ip(), Some(address.port())));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let is_host = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if is_host { Ok(Self { what: What::Host(plain(host)), port }) } else { Err(wrong()) }
    }
}

impl Allow {
    fn single(address: IpAddr, port: Option<u16>) -> Self {
        Self { what: What::Net(address, if address.is_ipv4() { 32 } else { 128 }), port }
    }

    fn covers(&self, host: &str, port: u16, address: IpAddr) -> bool {
        self.port.is_none_or(|allowed| allowed == port)
            && match &self.what {
                What::Host(allowed) => *allowed == plain(host),
                What::Net(net, bits) => contains(*net, *bits, address.to_canonical()),
            }
    }
}

/// A host as it is compared.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn contains(net: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            net.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            net.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Whether `host`, which stands for `address`, may be reached on this port.
pub(super) fn may_reach(allowed: &[Allow], host: &str, port: u16, address: IpAddr) -> bool {
    is_public(address) || allowed.iter().any(|allow| allow.covers(host, port, address))
}

/// Whether an address is one of the public internet. IPv6 addresses that carry an IPv4 address are
/// judged by that one.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    /// Networks that are not the public internet, by their first bits. The last is no network of
    /// its kind but the address under which a large provider serves its machines' metadata.
    const OTHERS: [(Ipv4Addr, u8); 16] = [
        (Ipv4Addr::UNSPECIFIED, 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
        (Ipv4Addr::new(168, 63, 129, 16), 32),
    ];
    !OTHERS.iter().any(|(net, bits)| contains((*net).into(), *bits, address.into()))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    /// Inside of what is global, what is not: protocol assignments (Teredo too), documentation.
    const OTHERS: [(Ipv6Addr, u8); 3] = [
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ];
    if let Some(carried) = carried(address) {
        return is_public_v4(carried);
    }
    address.segments()[0] & 0xe000 == 0x2000
        && !OTHERS.iter().any(|(net, bits)| contains((*net).into(), *bits, address.into()))
}

/// The IPv4 address in an IPv6 address that stands for one: mapped, translated by NAT64, or 6to4.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let of = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(of(high, low))
        }
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_reached_unasked() {
        for refused in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::7f00:1",
            "fec0::1",
            "100::1",
        ] {
            let address: IpAddr = refused.parse().unwrap();
            assert!(!may_reach(&[], "host", 80, address), "{refused}");
        }
        for reached in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ] {
            assert!(may_reach(&[], "host", 80, reached.parse().unwrap()), "{reached}");
        }
    }

    #[test]
    fn the_operator_allows_hosts_networks_and_ports() {
        let allowed = |rule: &str, host: &str, port: u16, address: &str| {
            may_reach(&[rule.parse().unwrap()], host, port, address.parse().unwrap())
        };
        assert!(allowed("10.0.0.0/8", "x", 1, "10.9.8.7"));
        assert!(allowed("10.0.0.0/8", "x", 1, "::ffff:10.9.8.7"));
        assert!(!allowed(
            "10.0.0.0/8",
            "x",
            1,
            "11.0.0.1".replace("11.0.0.1", "127.0.0.1").as_str()
        ));
        assert!(allowed("127.0.0.1:9000", "localhost", 9000, "127.0.0.1"));
        assert!(!allowed("127.0.0.1:9000", "localhost", 9001, "127.0.0.1"));
        assert!(allowed("Intranet.Example", "intranet.example.", 80, "10.0.0.1"));
        assert!(allowed("intranet.example:8080", "intranet.example", 8080, "10.0.0.1"));
        assert!(!allowed("intranet.example", "other.example", 80, "10.0.0.1"));
        assert!(allowed("[::1]:80", "localhost", 80, "::1"));
        assert!(allowed("0.0.0.0/0", "x", 1, "127.0.0.1"));
        for wrong in ["", "10.0.0.0/33", "a b", "host:port", "/8", "http://x"] {
            assert!(wrong.parse::<Allow>().is_err(), "{wrong}");
        }
    }
}
