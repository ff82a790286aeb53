//! The forwarding table: which interface leads to an address, and which addresses are the router's own.
//!
//! # Overview
//! A TUN device has one neighbour, so an interface is all there is to know of a next hop. The longest matching prefix wins. A
//! router of this kind has a handful of routes: they are looked at in order, the longest prefixes first.
//!
//! # Life cycle, locking
//! Made at the start from the command line, and not changed after.

use std::collections::HashMap;
use std::net::IpAddr;

use anyhow::{Result, bail};
use ipnet::IpNet;

use crate::options::{InterfaceSpec, NextHop, RouteSpec};

/// Where an interface is in the router's list of them.
pub type Position = usize;

/// The most interfaces that a router has: each needs a thread.
pub const MOST_INTERFACES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    net: IpNet,
    interface: Position,
}

/// Routes and own addresses.
#[derive(Debug)]
pub struct Table {
    /// The longest prefixes first.
    routes: Vec<Route>,
    own: HashMap<IpAddr, Position>,
    /// The broadcast addresses of the IPv4 networks that have one.
    broadcast: Vec<IpAddr>,
}

impl Table {
    /// The table of these interfaces and routes. Positions are those in `interfaces`.
    ///
    /// # Errors
    /// There are more than [`MOST_INTERFACES`]; a name, an address or a network is there twice; a route's interface does not exist, or its gateway is on no interface's
    /// network.
    pub fn new(interfaces: &[InterfaceSpec], routes: &[RouteSpec]) -> Result<Self> {
        if interfaces.len() > MOST_INTERFACES {
            bail!("more than {MOST_INTERFACES} interfaces");
        }
        let mut table = Table {
            routes: Vec::new(),
            own: HashMap::new(),
            broadcast: Vec::new(),
        };
        for (position, spec) in interfaces.iter().enumerate() {
            if interfaces[..position].iter().any(|other| other.name == spec.name) {
                bail!("interface {} is given twice", spec.name);
            }
            for net in &spec.addresses {
                if table.own.insert(net.addr(), position).is_some() {
                    bail!("address {} is given twice", net.addr());
                }
                table.add(net.trunc(), position)?;
                if let IpNet::V4(net) = net
                    && net.prefix_len() < 31
                {
                    table.broadcast.push(net.broadcast().into());
                }
            }
        }
        for route in routes {
            let position = match &route.next_hop {
                NextHop::Interface(name) => match interfaces.iter().position(|spec| spec.name == *name) {
                    Some(position) => position,
                    None => bail!("a route leads to interface {name}, and there is none"),
                },
                NextHop::Gateway(gateway) => {
                    let on = |spec: &InterfaceSpec| spec.addresses.iter().any(|net| net.contains(gateway));
                    match interfaces.iter().position(on) {
                        Some(_) if table.own.contains_key(gateway) => bail!("gateway {gateway} is the router itself"),
                        Some(position) => position,
                        None => bail!("gateway {gateway} is on no interface's network"),
                    }
                }
            };
            for net in route.networks() {
                table.add(net, position)?;
            }
        }
        Ok(table)
    }

    fn add(&mut self, net: IpNet, interface: Position) -> Result<()> {
        if let Some(other) = self.routes.iter().find(|route| route.net == net) {
            // Several addresses in one network of one interface are nothing special.
            if other.interface == interface {
                return Ok(());
            }
            bail!("there are two routes to {net}");
        }
        let at = self
            .routes
            .partition_point(|route| route.net.prefix_len() >= net.prefix_len());
        self.routes.insert(at, Route { net, interface });
        Ok(())
    }

    /// The interface that leads to `addr`.
    pub fn lookup(&self, addr: IpAddr) -> Option<Position> {
        let route = self.routes.iter().find(|route| route.net.contains(&addr))?;
        Some(route.interface)
    }

    /// Whether `addr` is one of the router's own, on whichever interface.
    pub fn is_own(&self, addr: IpAddr) -> bool {
        self.own.contains_key(&addr)
    }

    /// Whether `addr` is the broadcast address of a network that an interface is on.
    pub fn is_broadcast(&self, addr: IpAddr) -> bool {
        self.broadcast.contains(&addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(interfaces: &[&str], routes: &[&str]) -> Result<Table> {
        let interfaces: Vec<InterfaceSpec> = interfaces.iter().map(|text| text.parse().unwrap()).collect();
        let routes: Vec<RouteSpec> = routes.iter().map(|text| text.parse().unwrap()).collect();
        Table::new(&interfaces, &routes)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let interfaces = [
            "a0,address=10.0.0.1/24,address=fd00:a::1/64",
            "b0,address=10.0.1.1/24",
            "c0",
        ];
        let mut routes = [
            "default,via=10.0.1.2",
            "10.9.0.0/16,interface=c0",
            "10.9.8.0/24,via=10.0.0.2",
            "10.9.8.7/32,interface=b0",
            "fd00::/16,interface=c0",
        ];
        for _ in 0..routes.len() {
            routes.rotate_left(1);
            let table = table(&interfaces, &routes).unwrap();
            for (addr, interface) in [
                ("10.0.0.77", Some(0)),
                ("10.0.1.77", Some(1)),
                ("192.0.2.1", Some(1)),
                ("10.9.1.1", Some(2)),
                ("10.9.8.1", Some(0)),
                ("10.9.8.7", Some(1)),
                ("fd00:a::2", Some(0)),
                ("fd00:b::2", Some(2)),
                ("2001:db8::1", None),
            ] {
                assert_eq!(table.lookup(ip(addr)), interface, "{addr}");
            }
        }
    }

    #[test]
    fn own_and_broadcast_addresses_are_known() {
        let table = table(
            &["a0,address=10.0.0.1/24", "b0,address=10.0.1.0/31,address=fd00::1/64"],
            &[],
        )
        .unwrap();
        assert!(table.is_own(ip("10.0.0.1")) && table.is_own(ip("fd00::1")) && table.is_own(ip("10.0.1.0")));
        assert!(!table.is_own(ip("10.0.0.2")));
        assert!(table.is_broadcast(ip("10.0.0.255")));
        // A network of two has no broadcast address (RFC 3021).
        assert!(!table.is_broadcast(ip("10.0.1.1")));
    }

    #[test]
    fn several_addresses_may_share_a_network_of_one_interface() {
        let table = table(&["a0,address=10.0.0.1/24,address=10.0.0.2/24"], &[]).unwrap();
        assert!(table.is_own(ip("10.0.0.1")) && table.is_own(ip("10.0.0.2")));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (interfaces, routes, message) in [
            (&["a0", "a0"][..], &[][..], "interface a0 is given twice"),
            (
                &["a0,address=10.0.0.1/24", "b0,address=10.0.0.1/25"],
                &[],
                "address 10.0.0.1 is given twice",
            ),
            (
                &["a0,address=10.0.0.1/24", "b0,address=10.0.0.2/24"],
                &[],
                "there are two routes to 10.0.0.0/24",
            ),
            (
                &["a0"],
                &["default,interface=b0"],
                "a route leads to interface b0, and there is none",
            ),
            (
                &["a0"],
                &["default,via=10.0.0.2"],
                "gateway 10.0.0.2 is on no interface's network",
            ),
            (
                &["a0,address=10.0.0.1/24"],
                &["default,via=10.0.0.1"],
                "gateway 10.0.0.1 is the router itself",
            ),
            (
                &["a0,address=10.0.0.1/24", "b0"],
                &["default,via=10.0.0.2", "default,interface=b0"],
                "there are two routes to 0.0.0.0/0",
            ),
        ] {
            assert_eq!(table(interfaces, routes).unwrap_err().to_string(), message);
        }
    }
}
