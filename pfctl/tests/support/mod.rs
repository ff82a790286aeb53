//! What the tests stand on: a resolver that knows a fixed small world, and a pf that lives in memory.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod fake;
#[cfg(target_os = "linux")]
pub(crate) mod server;
pub(crate) mod tables;

use pfctl::conf::diagnostic::Sources;
use pfctl::conf::expand::Config;
use pfctl::conf::parser::Macros;
use pfctl::print::rule::RulePrinter;
use pfctl::resolve::{Interface, InterfaceAddress, Protocols, Resolver, Services, Transport};
use std::io;
use std::net::IpAddr;

/// A world with four interfaces, one host, and a few services.
pub(crate) struct FixedResolver {
    services: Services,
    protocols: Protocols,
}

impl FixedResolver {
    pub(crate) fn new() -> Self {
        Self {
            services: Services::parse(
                "ssh 22/tcp\nsmtp 25/tcp\ndomain 53/tcp\ndomain 53/udp\nhttp 80/tcp www\nauth 113/tcp\nntp 123/udp\nhttps 443/tcp\n",
            ),
            protocols: Protocols::parse(""),
        }
    }
}

fn address(text: &str, prefix: u8) -> InterfaceAddress {
    let address: IpAddr = text.parse().unwrap();
    InterfaceAddress {
        address,
        prefix,
        broadcast: None,
        peer: None,
        link_local: matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()),
    }
}

impl Resolver for FixedResolver {
    fn interfaces(&self) -> io::Result<Vec<Interface>> {
        let broadcast = |mut address: InterfaceAddress, broadcast: &str| {
            address.broadcast = Some(broadcast.parse().unwrap());
            address
        };
        let mut peer = address("10.9.0.1", 32);
        peer.peer = Some("10.9.0.2".parse().unwrap());
        Ok(vec![
            Interface {
                name: "lo0".into(),
                addresses: vec![address("127.0.0.1", 8), address("::1", 128)],
            },
            Interface {
                name: "em0".into(),
                addresses: vec![
                    broadcast(address("192.0.2.1", 24), "192.0.2.255"),
                    broadcast(address("192.0.2.9", 24), "192.0.2.255"),
                    address("fe80::1", 64),
                    address("2001:db8::1", 64),
                ],
            },
            Interface {
                name: "em1".into(),
                addresses: vec![broadcast(address("10.0.0.1", 8), "10.255.255.255")],
            },
            Interface {
                name: "tun0".into(),
                addresses: vec![peer],
            },
        ])
    }

    fn host(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match name {
            "www.example.org" => Ok(vec!["198.51.100.7".parse().unwrap(), "2001:db8:1::7".parse().unwrap()]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
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
        (name == "root").then_some(0)
    }

    fn group(&self, name: &str) -> Option<u32> {
        (name == "wheel").then_some(0)
    }

    fn fingerprints(&self, path: &str) -> io::Result<String> {
        match path {
            "/etc/pf.os" => Ok("16384:64:1:64:M*,N,N,S,N,W0,N,N,T:OpenBSD:3.3::OpenBSD 3.3\n\
                S4:64:1:60:M*,S,T,N,W7:Linux:2.6::Linux 2.6\n"
                .to_owned()),
            "short" => Ok("*:64:0:*:.:Toaster:1::A toaster\nnonsense\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn service_names(&self) -> Vec<String> {
        self.services.names()
    }
}

/// Compiles a configuration: what was made of it, or the report of its mistakes.
pub(crate) fn compile(text: &str) -> Result<Config, String> {
    let mut sources = Sources::default();
    let file = sources.add("pf.conf", text);
    pfctl::conf::compile(&mut sources, file, Macros::default(), &FixedResolver::new())
        .map(|(config, _)| config)
        .map_err(|diagnostics| diagnostics.render(&sources))
}

/// The report of what is odd in a configuration that has no mistakes.
pub(crate) fn warnings(text: &str) -> String {
    let mut sources = Sources::default();
    let file = sources.add("pf.conf", text);
    let (_, warnings) = pfctl::conf::compile(&mut sources, file, Macros::default(), &FixedResolver::new()).unwrap();
    warnings.render(&sources)
}

/// The rules of a configuration as they are printed, in the order of the file.
pub(crate) fn printed(text: &str) -> Vec<String> {
    let config = compile(text).unwrap_or_else(|report| panic!("{text}\n{report}"));
    let resolver = FixedResolver::new();
    let printer = RulePrinter {
        resolver: &resolver,
        numbers: false,
    };
    config
        .rules
        .iter()
        .map(|rule| {
            let text = printer.text(&rule.rule, &rule.pool, &rule.call);
            match rule.anchor.as_str() {
                "" => text,
                anchor => format!("{anchor}: {text}"),
            }
        })
        .collect()
}
