//! Names into numbers and back: hosts, interfaces, services, protocols.
//!
//! What asks the system stands behind [`Resolver`], so that a test can answer instead.

mod services;
mod system;

pub use services::{Protocols, Services};
pub use system::SystemResolver;

use std::io;
use std::net::IpAddr;

/// An interface of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses, in the order of the system.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The broadcast address of its network.
    pub broadcast: Option<IpAddr>,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Whether it means something on this interface only.
    pub link_local: bool,
}

/// The transport protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// Who knows names.
pub trait Resolver {
    /// The interfaces of this machine, in the order of the system.
    fn interfaces(&self) -> io::Result<Vec<Interface>>;

    /// The addresses of a host.
    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// The port of a service.
    fn service(&self, name: &str, transport: Transport) -> Option<u16>;

    /// The name of the service at a port.
    fn service_name(&self, port: u16, transport: Transport) -> Option<String>;

    /// The number of a protocol.
    fn protocol(&self, name: &str) -> Option<u8>;

    /// The name of a protocol.
    fn protocol_name(&self, number: u8) -> Option<String>;

    /// The number of a user.
    fn user(&self, _name: &str) -> Option<u32> {
        None
    }

    /// The number of a group.
    fn group(&self, _name: &str) -> Option<u32> {
        None
    }

    /// The text of a file of fingerprints, pf.os(5).
    fn fingerprints(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    /// The name of an operating system by the number that it has in pf.os(5).
    fn system_name(&self, number: u32) -> Option<String> {
        let text = self.fingerprints(crate::osfp::FILE).ok()?;
        crate::osfp::Fingerprints::parse(&text).0.name(number)
    }

    /// The names of services, for hints.
    fn service_names(&self) -> Vec<String>;
}
