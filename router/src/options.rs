//! The command line.
//!
//! An interface and a route are each one argument: a name or a destination, and then `key=value` pairs behind commas.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tracing::Level;

/// The fewest bytes that a link for IPv4 must take in one piece (RFC 791).
pub const LEAST_MTU_V4: u16 = 68;
/// The fewest bytes that a link for IPv6 must take in one piece (RFC 8200).
pub const LEAST_MTU_V6: u16 = 1280;

const EXAMPLE: &str = "\
EXAMPLE:
  A NAT firewall between the network namespaces `client` and `server`, without a packet through the host's own stack:

    pf-router --interface lan0,netns=client,address=10.0.0.1/24 \\
              --interface wan0,netns=server,address=198.51.100.1/24 \\
              --route default,via=198.51.100.2

    ip -n client address add 10.0.0.2/24 dev lan0
    ip -n client route add default via 10.0.0.1
    ip -n server address add 198.51.100.2/24 dev wan0

    pfctl -p /run/pf.sock -f pf.conf -e

SIGNALS:
  SIGINT, SIGTERM, SIGHUP   log the counters, remove the socket, end with status 0
  SIGUSR1                   log the counters

The packet filter starts disabled and passes everything, as after boot on NetBSD: `pfctl -e` enables it.
State tables are stored and loaded with pfctl too: see pfctl(8), -S and -L.";

/// pf between TUN interfaces: a router for IPv4 and IPv6 that filters and translates as NetBSD's pf does.
///
/// Each interface is a TUN device. What Linux sends to it, pf-router receives; what pf-router forwards to it, Linux receives. The device
/// can be in another network namespace, so that the router sits between namespaces and the kernel forwards nothing. The
/// router has addresses of its own, which answer ping; the Linux side of a device is set up with ip(8).
#[derive(Debug, Clone, Parser)]
#[command(name = "pf-router", version, after_help = EXAMPLE, max_term_width = 100)]
pub struct Options {
    /// An interface, and its addresses on the router's side.
    ///
    /// NAME is at most 15 bytes; by pf's custom it ends in a digit, which tells an interface from a group of interfaces in rules.
    /// KEY is one of:
    ///
    /// address=ADDRESS/LENGTH: an address of the router and the network that it reaches on this interface; may be repeated.
    ///
    /// netns=NAMESPACE: the network namespace that the device is in, a name as in ip-netns(8), or a path. Without it, the
    /// router's own.
    ///
    /// mtu=BYTES: the most that a packet may have. Without it, what --mtu says, or else what the device has.
    ///
    /// A device that does not exist is created, and goes with the router. One that `ip tuntap add` has made stays, with its
    /// addresses and routes, even if the router is killed.
    #[arg(short, long = "interface", value_name = "NAME[,KEY=VALUE]...", required = true)]
    pub interfaces: Vec<InterfaceSpec>,

    /// A route to what is not on an interface's own networks; may be repeated.
    ///
    /// DESTINATION is ADDRESS/LENGTH or `default`. GATEWAY is an address on one of the interfaces' networks. As a TUN device has
    /// one neighbour, which gets all its packets, an interface's name does as well. The longest matching route wins.
    #[arg(
        short,
        long = "route",
        value_name = "DESTINATION,via=GATEWAY|DESTINATION,interface=NAME"
    )]
    pub routes: Vec<RouteSpec>,

    /// The Unix socket on which pfctl(8) finds the packet filter (pfctl -p).
    ///
    /// It is made with mode 0600. Only root and the router's own user may change anything through it. A socket left by a router that was
    /// killed is replaced; one that is in use is not.
    #[arg(short, long, value_name = "PATH", default_value = "/run/pf.sock")]
    pub socket: PathBuf,

    /// The MTU of interfaces that have none of their own, 68 to 65535 bytes.
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(i64::from(LEAST_MTU_V4)..))]
    pub mtu: Option<u16>,

    /// The most ICMP and ICMPv6 errors that the router itself sends in a second; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub icmp_rate: u32,

    /// Where packets go that rules log: a pcapng file with LINKTYPE_PFLOG, for tcpdump(8) and Wireshark, or a FIFO.
    ///
    /// A file is made anew with mode 0600. A FIFO gives each reader a file from its beginning, and nothing is kept while there is
    /// none: `mkfifo /run/pflog; tcpdump -n -e -ttt -l -r /run/pflog`. Each pflogN is an interface of the file.
    #[arg(long, value_name = "FILE|FIFO")]
    pub pflog: Option<PathBuf>,

    /// How log lines are written to standard error.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = LogFormat::Text)]
    pub log: LogFormat,

    /// What is logged: error, warn, info, debug or trace, each with all before it.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: Level,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, message, fields.
    Text,
    /// One JSON object a line.
    Json,
}

/// What does not fit the form of an interface or a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError(String);

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SpecError {}

/// Fails with a message.
macro_rules! refuse {
    ($($message:tt)*) => {
        return Err(SpecError(format!($($message)*)))
    };
}

/// One interface: `NAME[,address=NET]...[,netns=NAMESPACE][,mtu=BYTES]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// The device's name, 1 to 15 bytes.
    pub name: String,
    /// The namespace that the device is in: a name, or a path.
    pub netns: Option<String>,
    /// The router's addresses, each with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
    /// The most bytes a packet may have, 68 to 65535.
    pub mtu: Option<u16>,
}

impl InterfaceSpec {
    /// The smallest MTU that the families of its addresses allow.
    pub fn least_mtu(&self) -> u16 {
        if self.addresses.iter().any(|net| net.addr().is_ipv6()) {
            LEAST_MTU_V6
        } else {
            LEAST_MTU_V4
        }
    }
}

impl FromStr for InterfaceSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        check_name(name)?;
        let mut spec = InterfaceSpec {
            name: name.to_owned(),
            netns: None,
            addresses: Vec::new(),
            mtu: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("address", value)) => spec.addresses.push(parse_address(value)?),
                Some(("netns", "")) => refuse!("netns needs the name of a network namespace"),
                Some(("netns", value)) if spec.netns.is_none() => spec.netns = Some(value.to_owned()),
                Some(("mtu", value)) if spec.mtu.is_none() => match value.parse() {
                    Ok(mtu) if mtu >= LEAST_MTU_V4 => spec.mtu = Some(mtu),
                    _ => refuse!("`{value}` is not an MTU: a number from {LEAST_MTU_V4} to 65535"),
                },
                Some((key @ ("netns" | "mtu"), _)) => refuse!("{key} is given twice"),
                _ => refuse!("`{part}` is none of address=ADDRESS/LENGTH, netns=NAMESPACE, mtu=BYTES"),
            }
        }
        Ok(spec)
    }
}

/// Whether Linux and pf take this as an interface's name.
fn check_name(name: &str) -> Result<(), SpecError> {
    let good = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'=' | b'%');
    if name.is_empty() || name.len() > 15 || !name.bytes().all(good) || matches!(name, "." | "..") {
        refuse!("`{name}` is not an interface name: 1 to 15 letters, digits and signs other than / : = % and comma");
    }
    Ok(())
}

/// An address of the router with the length of its network's prefix.
fn parse_address(text: &str) -> Result<IpNet, SpecError> {
    let Ok(net) = text.parse::<IpNet>() else {
        refuse!("`{text}` is not ADDRESS/LENGTH, as in 10.0.0.1/24 or fd00::1/64");
    };
    let addr = net.addr();
    let link_local = matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local());
    if addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() || link_local {
        refuse!("{addr} cannot be an address of the router");
    }
    if let IpNet::V4(net) = net
        && net.prefix_len() < 31
        && (net.addr() == net.network() || net.addr() == net.broadcast())
    {
        refuse!("{addr} is the network's own address or its broadcast address");
    }
    Ok(net)
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    /// To a router on one of the interfaces' networks.
    Gateway(IpAddr),
    /// To whatever is behind the interface of this name.
    Interface(String),
}

/// One route: `DESTINATION,via=GATEWAY` or `DESTINATION,interface=NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// What it leads to; none for `default`, whose family is the gateway's, or both.
    pub destination: Option<IpNet>,
    /// Where it leads.
    pub next_hop: NextHop,
}

impl RouteSpec {
    /// The networks that it stands for: two where `default` leads to an interface.
    pub fn networks(&self) -> Vec<IpNet> {
        let v4 = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
        let v6 = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0));
        match (&self.destination, &self.next_hop) {
            (Some(net), _) => vec![net.trunc()],
            (None, NextHop::Gateway(IpAddr::V4(_))) => vec![v4],
            (None, NextHop::Gateway(IpAddr::V6(_))) => vec![v6],
            (None, NextHop::Interface(_)) => vec![v4, v6],
        }
    }
}

impl FromStr for RouteSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let Some((destination, rest)) = text.split_once(',') else {
            refuse!("`{text}` lacks ,via=GATEWAY or ,interface=NAME");
        };
        let destination = match destination {
            "default" => None,
            net => match net.parse::<IpNet>() {
                Ok(net) => Some(net),
                Err(_) => refuse!("`{net}` is neither ADDRESS/LENGTH nor default"),
            },
        };
        let next_hop = match rest.split_once('=') {
            Some(("via", gateway)) => match gateway.parse() {
                Ok(gateway) => NextHop::Gateway(gateway),
                Err(_) => refuse!("`{gateway}` is not an address"),
            },
            Some(("interface", name)) => {
                check_name(name)?;
                NextHop::Interface(name.to_owned())
            }
            _ => refuse!("`{rest}` is neither via=GATEWAY nor interface=NAME"),
        };
        if let (Some(net), NextHop::Gateway(gateway)) = (&destination, &next_hop)
            && net.addr().is_ipv4() != gateway.is_ipv4()
        {
            refuse!("{net} and {gateway} are of different address families");
        }
        Ok(RouteSpec { destination, next_hop })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn an_interface_has_a_name_and_the_rest_is_optional() {
        let spec: InterfaceSpec = "lan0,netns=client,address=10.0.0.1/24,address=fd00:1::1/64,mtu=1400"
            .parse()
            .unwrap();
        assert_eq!(spec.name, "lan0");
        assert_eq!(spec.netns.as_deref(), Some("client"));
        assert_eq!(
            spec.addresses,
            ["10.0.0.1/24".parse().unwrap(), "fd00:1::1/64".parse().unwrap()]
        );
        assert_eq!(spec.mtu, Some(1400));
        assert_eq!(spec.least_mtu(), 1280);
        let bare: InterfaceSpec = "tun0".parse().unwrap();
        assert_eq!((bare.netns.as_ref(), bare.addresses.len(), bare.mtu), (None, 0, None));
        assert_eq!(bare.least_mtu(), 68);
    }

    #[test]
    fn a_wrong_interface_is_refused_with_what_is_wrong() {
        for (text, message) in [
            ("", "`` is not an interface name"),
            ("an-interface-name", "`an-interface-name` is not an interface name"),
            ("a/b", "`a/b` is not an interface name"),
            ("lan0,", "`` is none of address="),
            ("lan0,10.0.0.1/24", "`10.0.0.1/24` is none of address="),
            ("lan0,address=10.0.0.1", "`10.0.0.1` is not ADDRESS/LENGTH"),
            ("lan0,address=10.0.0.1/33", "`10.0.0.1/33` is not ADDRESS/LENGTH"),
            ("lan0,address=10.0.0.0/24", "10.0.0.0 is the network's own address"),
            (
                "lan0,address=10.0.0.255/24",
                "10.0.0.255 is the network's own address or",
            ),
            ("lan0,address=224.0.0.1/24", "224.0.0.1 cannot be"),
            ("lan0,address=fe80::1/64", "fe80::1 cannot be"),
            ("lan0,netns=", "netns needs"),
            ("lan0,netns=a,netns=b", "netns is given twice"),
            ("lan0,mtu=67", "`67` is not an MTU"),
            ("lan0,mtu=1500,mtu=1500", "mtu is given twice"),
        ] {
            let error = text.parse::<InterfaceSpec>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_route_leads_to_a_gateway_or_an_interface() {
        let route: RouteSpec = "default,via=198.51.100.2".parse().unwrap();
        assert_eq!(route.networks(), ["0.0.0.0/0".parse().unwrap()]);
        assert_eq!(route.next_hop, NextHop::Gateway("198.51.100.2".parse().unwrap()));
        let route: RouteSpec = "default,interface=wan0".parse().unwrap();
        assert_eq!(
            route.networks(),
            ["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()]
        );
        let route: RouteSpec = "fd00:2::7/32,via=fd00:1::2".parse().unwrap();
        assert_eq!(route.networks(), ["fd00:2::/32".parse().unwrap()]);
    }

    #[test]
    fn a_wrong_route_is_refused_with_what_is_wrong() {
        for (text, message) in [
            ("default", "`default` lacks"),
            ("10.0.0.1,via=10.0.0.2", "`10.0.0.1` is neither"),
            ("default,via=gw", "`gw` is not an address"),
            ("default,dev=wan0", "`dev=wan0` is neither"),
            ("10.0.0.0/8,via=fd00::1", "10.0.0.0/8 and fd00::1 are of different"),
        ] {
            let error = text.parse::<RouteSpec>().unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
