//! The files services(5) and protocols(5).

use super::Transport;
use std::collections::BTreeMap;
use std::path::Path;

/// The lines of a file in fields, without comments. A file that is not there is empty.
fn fields(path: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read(path).unwrap_or_default();
    fields_of(&String::from_utf8_lossy(&text))
}

fn fields_of(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            line.split_whitespace().map(str::to_owned).collect()
        })
        .filter(|fields: &Vec<String>| fields.len() >= 2)
        .collect()
}

/// Services by name and by port.
#[derive(Clone, Debug, Default)]
pub struct Services {
    ports: BTreeMap<(Transport, String), u16>,
    names: BTreeMap<(Transport, u16), String>,
}

impl Services {
    /// Reads a file in the format of services(5).
    pub fn read(path: &Path) -> Self {
        Self::from_fields(fields(path))
    }

    /// Takes text in the format of services(5).
    pub fn parse(text: &str) -> Self {
        Self::from_fields(fields_of(text))
    }

    fn from_fields(lines: Vec<Vec<String>>) -> Self {
        let mut services = Self::default();
        for line in lines {
            let Some((port, transport)) = line[1].split_once('/') else {
                continue;
            };
            let transport = match transport {
                "tcp" => Transport::Tcp,
                "udp" => Transport::Udp,
                _ => continue,
            };
            let Ok(port) = port.parse() else {
                continue;
            };
            // As in getservbyname(3), the first line wins.
            services
                .names
                .entry((transport, port))
                .or_insert_with(|| line[0].clone());
            for name in line.iter().take(1).chain(&line[2..]) {
                services.ports.entry((transport, name.clone())).or_insert(port);
            }
        }
        services
    }

    /// The port of a service.
    pub fn port(&self, name: &str, transport: Transport) -> Option<u16> {
        self.ports.get(&(transport, name.to_owned())).copied()
    }

    /// The service at a port.
    pub fn name(&self, port: u16, transport: Transport) -> Option<String> {
        self.names.get(&(transport, port)).cloned()
    }

    /// The names of all services.
    pub fn names(&self) -> Vec<String> {
        self.ports.keys().map(|(_, name)| name.clone()).collect()
    }
}

/// Protocols by name and by number.
#[derive(Clone, Debug, Default)]
pub struct Protocols {
    numbers: BTreeMap<String, u8>,
    names: BTreeMap<u8, String>,
}

/// The protocols that a packet filter is asked about, with the names that NetBSD's protocols(5) has for them: known even where
/// the file is missing, and so that `icmp6` is known where the file has it under one name only.
const WELL_KNOWN: &str = "\
icmp 1 ICMP
igmp 2 IGMP
ipencap 4 IP-ENCAP ipip
tcp 6 TCP
egp 8 EGP
udp 17 UDP
ipv6 41 IPv6
gre 47 GRE
esp 50 ESP ipv6-crypt
ah 51 AH ipv6-auth
ipv6-icmp 58 IPv6-ICMP icmp6
ospf 89 OSPFIGP
etherip 97 ETHERIP
pim 103 PIM
ipcomp 108 IPComp
carp 112 CARP vrrp
l2tp 115 L2TP
sctp 132 SCTP
pfsync 240 PFSYNC
";

impl Protocols {
    /// Reads a file in the format of protocols(5).
    pub fn read(path: &Path) -> Self {
        Self::from_fields(fields(path))
    }

    /// Takes text in the format of protocols(5).
    pub fn parse(text: &str) -> Self {
        Self::from_fields(fields_of(text))
    }

    fn from_fields(lines: Vec<Vec<String>>) -> Self {
        let mut protocols = Self::default();
        for line in lines.into_iter().chain(fields_of(WELL_KNOWN)) {
            let Ok(number) = line[1].parse() else {
                continue;
            };
            protocols.names.entry(number).or_insert_with(|| line[0].clone());
            for name in line.iter().take(1).chain(&line[2..]) {
                protocols.numbers.entry(name.clone()).or_insert(number);
            }
        }
        protocols
    }

    /// The number of a protocol.
    pub fn number(&self, name: &str) -> Option<u8> {
        self.numbers.get(name).copied()
    }

    /// The name of a protocol.
    pub fn name(&self, number: u8) -> Option<String> {
        self.names.get(&number).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_names_ports_and_aliases() {
        let services = Services::parse(
            "# comment\nhttp 80/tcp www # web\nhttp 80/udp\ndomain 53/tcp\nother 80/tcp\nbad x/tcp\nodd 1/sctp\n",
        );
        assert_eq!(services.port("http", Transport::Tcp), Some(80));
        assert_eq!(services.port("www", Transport::Tcp), Some(80));
        assert_eq!(services.port("www", Transport::Udp), None);
        assert_eq!(services.name(80, Transport::Tcp).as_deref(), Some("http"));
        assert_eq!(services.port("bad", Transport::Tcp), None);
    }

    #[test]
    fn well_known_protocols_need_no_file() {
        let protocols = Protocols::read(Path::new("/nonexistent"));
        assert_eq!(protocols.number("tcp"), Some(6));
        assert_eq!(protocols.number("icmp6"), Some(58));
        assert_eq!(protocols.name(58).as_deref(), Some("ipv6-icmp"));
        assert_eq!(protocols.name(253), None);
    }

    #[test]
    fn a_file_goes_before_what_is_built_in() {
        let protocols = Protocols::parse("mytcp 6 MYTCP\n");
        assert_eq!(protocols.name(6).as_deref(), Some("mytcp"));
        assert_eq!(protocols.number("tcp"), Some(6));
    }
}
