//! What the running system knows.

use super::{Interface, InterfaceAddress, Protocols, Resolver, Services, Transport};
use nix::ifaddrs::{InterfaceAddress as SystemAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

/// Asks getifaddrs(3), getaddrinfo(3), services(5) and protocols(5).
#[derive(Debug)]
pub struct SystemResolver {
    services: Services,
    protocols: Protocols,
}

impl SystemResolver {
    /// Reads the files; the rest is asked when it is needed.
    pub fn new() -> Self {
        Self {
            services: Services::read(Path::new("/etc/services")),
            protocols: Protocols::read(Path::new("/etc/protocols")),
        }
    }
}

impl Default for SystemResolver {
    fn default() -> Self {
        Self::new()
    }
}

fn ip(address: Option<&SockaddrStorage>) -> Option<IpAddr> {
    let address = address?;
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(v4.ip().into());
    }
    address.as_sockaddr_in6().map(|v6| v6.ip().into())
}

/// The bits set at the beginning of a mask.
fn prefix(mask: IpAddr) -> u8 {
    let bits = match mask {
        IpAddr::V4(mask) => mask.to_bits().leading_ones(),
        IpAddr::V6(mask) => mask.to_bits().leading_ones(),
    };
    bits as u8
}

/// A link-local address without the number of its interface, which some systems keep inside it.
fn without_scope(address: IpAddr) -> (IpAddr, bool) {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let mut segments = v6.segments();
            segments[1] = 0;
            (IpAddr::from(segments), true)
        }
        _ => (address, false),
    }
}

fn convert(address: &SystemAddress) -> Option<InterfaceAddress> {
    let (ip_address, link_local) = without_scope(ip(address.address.as_ref())?);
    let full = if ip_address.is_ipv4() { 32 } else { 128 };
    let has = |flag| address.flags.contains(flag);
    Some(InterfaceAddress {
        address: ip_address,
        prefix: ip(address.netmask.as_ref()).map_or(full, prefix),
        broadcast: ip(address.broadcast.as_ref()).filter(|_| has(InterfaceFlags::IFF_BROADCAST)),
        peer: ip(address.destination.as_ref()).filter(|_| has(InterfaceFlags::IFF_POINTOPOINT)),
        link_local,
    })
}

impl Resolver for SystemResolver {
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let mut interfaces: Vec<Interface> = Vec::new();
        for address in getifaddrs()? {
            let index = interfaces
                .iter()
                .position(|known| known.name == address.interface_name)
                .unwrap_or_else(|| {
                    interfaces.push(Interface {
                        name: address.interface_name.clone(),
                        addresses: Vec::new(),
                    });
                    interfaces.len() - 1
                });
            interfaces[index].addresses.extend(convert(&address));
        }
        Ok(interfaces)
    }

    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for address in (name, 0).to_socket_addrs()? {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        Ok(addresses)
    }

    fn service(&self, name: &str, transport: Transport) -> Option<u16> {
        self.services.port(name, transport)
    }

    fn service_name(&self, port: u16, transport: Transport) -> Option<String> {
        self.services.name(port, transport)
    }

    fn protocol(&self, name: &str) -> Option<u8> {
        self.protocols.number(name)
    }

    fn protocol_name(&self, number: u8) -> Option<String> {
        self.protocols.name(number)
    }

    fn user(&self, name: &str) -> Option<u32> {
        let user = nix::unistd::User::from_name(name).ok()??;
        Some(user.uid.as_raw())
    }

    fn group(&self, name: &str) -> Option<u32> {
        let group = nix::unistd::Group::from_name(name).ok()??;
        Some(group.gid.as_raw())
    }

    fn service_names(&self) -> Vec<String> {
        self.services.names()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_has_a_name_and_sound_masks() {
        let interfaces = SystemResolver::new().interfaces().unwrap();
        for interface in &interfaces {
            assert!(!interface.name.is_empty());
            for address in &interface.addresses {
                let longest = if address.address.is_ipv4() { 32 } else { 128 };
                assert!(address.prefix <= longest, "{interface:?}");
            }
        }
    }

    #[test]
    fn a_link_local_address_loses_the_number_of_its_interface() {
        let with: IpAddr = "fe80:3::1".parse().unwrap();
        assert_eq!(without_scope(with), ("fe80::1".parse().unwrap(), true));
        let global: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(without_scope(global), (global, false));
    }

    #[test]
    fn a_numeric_host_is_itself() {
        let addresses = SystemResolver::new().host("192.0.2.1").unwrap();
        assert_eq!(addresses, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }
}
