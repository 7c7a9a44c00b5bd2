//! Guards calls to addresses that callers choose: none reaches what only this host can reach.
//!
//! A name is resolved once, its addresses are checked, and the connection goes to those: what the name means a moment later does not matter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::error::Forbidden;
use super::url::Url;
use crate::domain::Network;

/// The time limit for resolving a name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The rules for addresses.
#[derive(Clone, Debug, Default)]
pub struct AddressGuard {
    allowed: Arc<[Network]>,
}

impl AddressGuard {
    /// Permits the addresses of the public internet, and those of these networks.
    pub fn new(allowed: &[Network]) -> Self {
        Self { allowed: allowed.into() }
    }

    /// Whether the address may be called.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.allowed.iter().any(|network| network.contains(address))
    }

    fn check(&self, address: IpAddr) -> Result<(), Forbidden> {
        if self.permits(address) { Ok(()) } else { Err(Forbidden(format!("{} is not permitted", address.to_canonical()))) }
    }

    /// Checks the host of a URL where it is written as an address: such a host is not resolved.
    pub(super) fn check_literal(&self, url: &Url) -> Result<(), Forbidden> {
        literal(url).map_or(Ok(()), |address| self.check(address))
    }

    /// Checks what the host of a URL means at present.
    ///
    /// # Errors
    /// If one of its addresses is not permitted, or it has none.
    pub async fn check_now(&self, url: &Url) -> Result<(), Forbidden> {
        if literal(url).is_some() {
            return self.check_literal(url);
        }
        self.resolve_checked(url.inner().host_str().unwrap_or_default()).await.map(drop)
    }

    /// All addresses of a name. Where there is none, the error is that of an address that is not permitted.
    async fn resolve_checked(&self, host: &str) -> Result<Vec<SocketAddr>, Forbidden> {
        let found = timeout(LOOKUP_TIMEOUT, lookup_host((host, 0))).await;
        let found = found.map_err(|_| Forbidden("the name was not resolved in time".to_owned()))?;
        let addresses: Vec<SocketAddr> = found.map_err(|error| Forbidden(error.to_string()))?.collect();
        addresses.iter().try_for_each(|address| self.check(address.ip()))?;
        if addresses.is_empty() { Err(Forbidden("the name has no address".to_owned())) } else { Ok(addresses) }
    }
}

impl Resolve for AddressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move { Ok(Box::new(guard.resolve_checked(name.as_str()).await?.into_iter()) as Addrs) })
    }
}

/// The host of a URL where it is written as an address.
fn literal(url: &Url) -> Option<IpAddr> {
    let host = url.inner().host_str()?;
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Whether the address is one of the public internet (the registries of special-purpose addresses of IANA).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || matches!((a, b, c), (0 | 240..=255, ..) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _));
    !is_special
}

/// Of IPv6 only 2000::/3 is given out, and in it some ranges stand for other addresses.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match segments {
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        // 6to4.
        [0x2002, high, low, ..] => embedded(high, low),
        // Special protocols with Teredo among them, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_this_host_can_reach_are_forbidden_however_they_are_written() {
        let guard = AddressGuard::default();
        for address in [
            "127.0.0.1",
            "127.8.9.10",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "203.0.113.5",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
            "64:ff9b:1::1",
            "fec0::1",
        ] {
            assert!(!guard.permits(address.parse().unwrap()), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1"] {
            assert!(guard.permits(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn networks_of_the_site_are_permitted_and_nothing_beside_them() {
        let guard = AddressGuard::new(&["10.1.0.0/16".parse().unwrap(), "::1".parse().unwrap()]);
        for (address, permitted) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("::1", true), ("10.2.0.1", false), ("127.0.0.1", false)]
        {
            assert_eq!(guard.permits(address.parse().unwrap()), permitted, "{address}");
        }
    }

    #[tokio::test]
    async fn a_url_is_refused_by_its_literal_address_and_by_what_its_name_means() {
        let guard = AddressGuard::default();
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]:8443/",
            "https://[::ffff:10.0.0.1]/",
            "https://localhost/",
        ] {
            let refused = guard.check_now(&Url::parse(url).unwrap()).await;
            assert!(refused.is_err(), "{url}");
        }
        guard.check_now(&Url::parse("https://1.1.1.1/").unwrap()).await.unwrap();
    }

    #[tokio::test]
    async fn the_message_does_not_say_what_a_name_means_or_whether_it_means_anything() {
        let guard = AddressGuard::default();
        let mut messages = Vec::new();
        for (host, detail) in [("localhost", "is not permitted"), ("nowhere.invalid", "lookup"), ("10.0.0.1", "10.0.0.1 is not permitted")]
        {
            let refused = guard.check_now(&Url::parse(&format!("https://{host}/")).unwrap()).await.unwrap_err();
            assert!(refused.detail().contains(detail), "{refused:?}");
            messages.push(refused.to_string());
        }
        messages.dedup();
        assert_eq!(messages.len(), 1, "{messages:?}");
    }
}
