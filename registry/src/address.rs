//! Which addresses may be dialled for whom: checked after resolution, on the very address that is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::configuration::Addresses;

/// What an address is, by how far away it is believed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Zone {
    Public,
    /// Private networks (RFC 1918, RFC 6598, RFC 4193) and what else is not routed (RFC 6890).
    Private,
    /// This machine, its link, and the metadata services of clouds.
    Local,
}

impl Zone {
    /// The zone of an address; of one that carries an IPv4 address, the nearer of the two.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => carried(address).into_iter().map(Self::of_v4).fold(Self::of_v6(address), Self::max),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        // The metadata services of Alibaba Cloud, Oracle Cloud and Azure lie outside the link-local range.
        const METADATA: [Ipv4Addr; 3] =
            [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
        let octets = address.octets();
        let is_local = address.is_loopback()
            || address.is_link_local()
            || address.is_broadcast()
            || address.is_multicast()
            || octets.starts_with(&[0])
            || METADATA.contains(&address);
        if is_local {
            return Self::Local;
        }
        match octets {
            [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18 | 19, ..] | [240..=255, ..] => Self::Private,
            _ if address.is_private() => Self::Private,
            _ => Self::Public,
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        // The metadata services of Amazon EC2, of EKS's pod identities, and of Google Cloud.
        const METADATA: [Ipv6Addr; 3] = [
            Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
            Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023),
            Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
        ];
        let is_local = address.is_loopback()
            || address.is_unspecified()
            || address.is_multicast()
            || address.is_unicast_link_local()
            || METADATA.contains(&address);
        match address.segments() {
            _ if is_local => Self::Local,
            // Unique local addresses, the site-local ones before them (RFC 3879), and local NAT64 (RFC 8215).
            [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Self::Private,
            _ => Self::Public,
        }
    }
}

/// IPv4 addresses that an IPv6 address leads to: mapped and compatible (RFC 4291, section 2.5.5), through NAT64 (RFC
/// 6052, section 2.2; RFC 8215), 6to4 (RFC 3056), Teredo (RFC 4380, section 4) and ISATAP (RFC 5214, section 6.1).
fn carried(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => vec![join(high, low)],
        [0x2001, 0, .., high, low] => vec![join(!high, !low)],
        // The prefix of a local NAT64 may have 48, 56, 64 or 96 bits; the eight bits after the first 64 are zero.
        [0x64, 0xff9b, 1, d, e, f, g, h] => {
            vec![join(d, e << 8 | f >> 8), join(d << 8 | e, f), join(e << 8 | f >> 8, f << 8 | g >> 8), join(g, h)]
        }
        [.., 0 | 0x200, 0x5efe, high, low] => vec![join(high, low)],
        _ => Vec::new(),
    }
}

/// How near an address may be that is dialled for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Public addresses only: the host was named by a registry.
    Public,
    /// And private networks: the host was named by a reference, a rule or the configuration.
    Private,
    /// This machine only: the host is called `localhost`, or is a loopback address.
    Loopback,
    /// Everything: the configuration says so.
    Anywhere,
}

impl Reach {
    pub(crate) fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => Zone::of(address) == Zone::Public,
            Self::Private => Zone::of(address) <= Zone::Private,
            Self::Loopback => address.is_loopback(),
            Self::Anywhere => true,
        }
    }
}

impl From<Addresses> for Reach {
    fn from(addresses: Addresses) -> Self {
        match addresses {
            Addresses::Public => Self::Public,
            Addresses::Private => Self::Private,
            Addresses::DangerLocal => Self::Anywhere,
        }
    }
}

/// A host was not dialled, because none of its addresses may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{host}` is not dialled, because its address {address} is {}; {}", self.kind(), self.hint())]
pub(crate) struct Refused {
    pub(crate) host: String,
    pub(crate) address: IpAddr,
}

impl Refused {
    fn kind(&self) -> &'static str {
        match Zone::of(self.address) {
            Zone::Public => "not on this machine",
            Zone::Private => "in a private network",
            Zone::Local => "this machine's, its link's or a metadata service's",
        }
    }

    fn hint(&self) -> &'static str {
        match Zone::of(self.address) {
            Zone::Public => "let `localhost` name this machine",
            Zone::Private => {
                "if it is right, set `addresses: private` for it in `registry.hosts`, or give `--registry-private-host`"
            }
            Zone::Local => "if it is right, set `addresses: dangerLocal` for it in `registry.hosts`",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn must_not_take_a_near_address_for_a_far_one() {
        for (zone, addresses) in [
            (
                Zone::Local,
                "127.0.0.1 127.9.9.9 0.0.0.0 0.1.2.3 169.254.169.254 169.254.170.2 100.100.100.200 192.0.0.192 \
                 168.63.129.16 224.0.0.1 255.255.255.255 ::1 :: fe80::1 ff02::1 fd00:ec2::254 fd00:ec2::23 \
                 fd20:ce::254 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe \
                 64:ff9b:1::a9fe:a9fe 64:ff9b:1:a9fe:a9:fe00:: 2002:7f00:1:: 2002:a9fe:a9fe::1 \
                 2001:0:1:2:3:4:5601:5601 2001:db8::5efe:a9fe:a9fe ::ffff:0:127.0.0.1",
            ),
            (
                Zone::Private,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 100.127.255.255 198.18.0.1 240.0.0.1 \
                 fd00::1 fc00::1 fec0::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::",
            ),
            (
                Zone::Public,
                "8.8.8.8 172.32.0.1 100.128.0.1 100.63.0.1 2001:db8::1 64:ff9b::808:808 2002:808:808:: \
                 ::ffff:8.8.8.8 168.63.129.17",
            ),
        ] {
            for address in addresses.split_whitespace() {
                assert_eq!(Zone::of(address.parse().unwrap()), zone, "{address}");
            }
        }
    }

    #[test]
    fn what_may_be_dialled_grows_with_who_named_the_host() {
        let may = |reach: Reach| {
            ["8.8.8.8", "10.0.0.1", "127.0.0.1", "169.254.169.254"]
                .map(|address| reach.allows(address.parse().unwrap()))
        };
        assert_eq!(may(Reach::Public), [true, false, false, false]);
        assert_eq!(may(Reach::Private), [true, true, false, false]);
        assert_eq!(may(Reach::Loopback), [false, false, true, false]);
        assert_eq!(may(Reach::Anywhere), [true, true, true, true]);
    }
}
