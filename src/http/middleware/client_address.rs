//! The client address of a request: that of the peer, or the one that trusted proxies in front report.
//!
//! A header is believed only as far as trusted proxies wrote it: it is read from its end, and the first address that is not one of
//! theirs is the client's. Anything before it came with the request, and any client can write it.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use crate::domain::Network;
use crate::http::config::ForwardingHeader;

/// The trusted proxies, and the header in which they report the address.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies {
    networks: Vec<Network>,
    header: ForwardingHeader,
}

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<Network>, header: ForwardingHeader) -> Self {
        Self { networks, header }
    }

    /// The address of the client whose request came from `peer` with these headers.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut said = self.header.addresses_from_the_end(headers);
        while self.networks.iter().any(|network| network.contains(client)) {
            match said.next() {
                Some(Some(address)) => client = address,
                // Nothing more is known, or the element is not an address (`unknown`, an obfuscated name).
                Some(None) | None => break,
            }
        }
        client
    }
}

impl ForwardingHeader {
    fn addresses_from_the_end(self, headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
        let name = match self {
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::Forwarded => header::FORWARDED,
        };
        // Invalid UTF-8 spoils only its own element, not those that proxies added to the same line.
        let lines = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        // Quotes are ignored when a line is split: one that the client left open would hide the elements of the proxies after it.
        let elements: Vec<String> = lines.flat_map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
        elements.into_iter().rev().map(move |element| match self {
            Self::XForwardedFor => node(&element),
            Self::Forwarded => {
                let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
                let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
                named.next().and_then(|(_, value)| node(value)).filter(|_| named.next().is_none())
            }
        })
    }
}

/// An address with or without a port, quotes and brackets (RFC 7239, 6).
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    /// The client of a request from `peer` behind proxies in 10.0.0.0/8 and `2001:db8::/32`.
    fn client(header: ForwardingHeader, peer: &str, lines: &[(&'static str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"].map(|text| text.parse().unwrap());
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(*name, HeaderValue::from_str(line).unwrap());
        }
        TrustedProxies::new(networks.to_vec(), header).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_last_address_that_is_no_proxys_is_the_client() {
        let x = |peer: &str, lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            client(ForwardingHeader::XForwardedFor, peer, &lines)
        };
        assert_eq!(x("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(x("10.0.0.1", &["198.51.100.7, 10.2.3.4"]), "198.51.100.7", "through two proxies");
        assert_eq!(x("10.0.0.1", &["198.51.100.7", "10.2.3.4"]), "198.51.100.7", "on two lines");
        assert_eq!(x("::ffff:10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7", "IPv4 on an IPv6 socket");
        assert_eq!(x("2001:db8::1", &["2001:470::7"]), "2001:470::7");
        assert_eq!(x("10.0.0.1", &["198.51.100.7:4711"]), "198.51.100.7", "with a port, as some proxies write it");
        assert_eq!(x("10.0.0.1", &["10.7.7.7"]), "10.7.7.7", "a client inside");
        assert_eq!(x("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_writes_itself_is_not_believed() {
        let x = |peer: &str, line: &str| client(ForwardingHeader::XForwardedFor, peer, &[("x-forwarded-for", line)]);
        assert_eq!(x("198.51.100.7", "192.0.2.1"), "198.51.100.7", "past every proxy");
        assert_eq!(x("10.0.0.1", "192.0.2.1, 198.51.100.7"), "198.51.100.7", "in front of what the proxy wrote");
        assert_eq!(x("10.0.0.1", "10.9.9.9, 198.51.100.7"), "198.51.100.7", "the address of a proxy among it");
        assert_eq!(x("10.0.0.1", "192.0.2.1, unknown"), "10.0.0.1", "nothing before what cannot be read");
        assert_eq!(x("10.0.0.1", "192.0.2.1,"), "10.0.0.1");
        assert_eq!(x("10.0.0.1", "\u{e9}, 198.51.100.7"), "198.51.100.7", "what is no ASCII in front of it");
        let other =
            client(ForwardingHeader::XForwardedFor, "10.0.0.1", &[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "198.51.100.7")]);
        assert_eq!(other, "198.51.100.7", "a header that the proxies only pass on");
    }

    #[test]
    fn the_header_of_rfc_7239_is_read_where_the_proxies_write_that_one() {
        let f = |line: &str| client(ForwardingHeader::Forwarded, "10.0.0.1", &[("forwarded", line), ("x-forwarded-for", "192.0.2.1")]);
        assert_eq!(f("for=198.51.100.7;proto=https;by=10.0.0.1"), "198.51.100.7");
        assert_eq!(f("by=10.0.0.1; For=\"198.51.100.7:4711\""), "198.51.100.7");
        assert_eq!(f("for=\"[2001:470::7]:4711\", for=10.2.3.4"), "2001:470::7");
        assert_eq!(f("for=\"[2001:470::7]\""), "2001:470::7");
        assert_eq!(f("for=\"192.0.2.1, for=198.51.100.7"), "198.51.100.7", "a quote left open by the client");
        for nothing in ["for=unknown", "for=_hidden", "proto=https", "for=192.0.2.1;for=192.0.2.2", ""] {
            assert_eq!(f(nothing), "10.0.0.1", "{nothing}");
        }
    }

    #[test]
    fn ranges_are_read_as_they_are_written_and_nothing_else_is() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.6/31", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
        ] {
            let network: Network = text.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()) && !network.contains(outside.parse().unwrap()), "{text}");
        }
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "proxy.example.org", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_writes_the_address_that_the_proxy_added_counts(written in "[ -~]{0,60}", forwarded in any::<bool>()) {
            let (header, name, added) = match forwarded {
                true => (ForwardingHeader::Forwarded, "forwarded", "for=198.51.100.7"),
                false => (ForwardingHeader::XForwardedFor, "x-forwarded-for", "198.51.100.7"),
            };
            prop_assert_eq!(client(header, "10.0.0.1", &[(name, &format!("{written}, {added}"))]), "198.51.100.7");
        }
    }
}
