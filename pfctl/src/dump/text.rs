//! The text format: lines of words `key=value`, one rule or state a line, each in full. The last line has the CRC-32 of all
//! before it. A file is exactly what [`encode`] makes of its contents, to the last byte.

use super::identity::Identity;
use super::{Dump, FormatError, RuleRecord, kind_number, kind_of};
use pf_abi::{Addr, IfName, SyncHost, SyncPeer, SyncScrub, SyncState, join_counter, split_counter};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The first word of a file.
const MAGIC: &str = "pf-states";
/// The version that is written here, and the only one that is read.
const VERSION: u32 = 1;

/// Whether a file is meant to be of this format.
pub fn recognizes(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC.as_bytes()) || (!bytes.is_empty() && MAGIC.as_bytes().starts_with(bytes))
}

/// The text of a file.
pub fn encode(dump: &Dump) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{MAGIC} version={VERSION} created={} rules={} states={}",
        dump.created,
        dump.rules.len(),
        dump.states.len()
    );
    for rule in &dump.rules {
        let _ = writeln!(
            out,
            "rule kind={} number={} ordinal={} identity={}",
            kind_number(rule.kind).unwrap_or(u32::MAX),
            rule.number,
            rule.ordinal,
            rule.identity
        );
    }
    for state in &dump.states {
        push_state(&mut out, state);
    }
    let _ = writeln!(out, "end crc32={:08x}", crc32fast::hash(out.as_bytes()));
    out
}

fn push_state(out: &mut String, state: &SyncState) {
    let _ = write!(
        out,
        "state id={:016x} creatorid={:08x} if={} af={} proto={} direction={}",
        state.number(),
        u32::from_be(state.creatorid),
        escape(state.ifname.as_array()),
        state.af,
        state.proto,
        state.direction,
    );
    for (name, host) in [("lan", &state.lan), ("gwy", &state.gwy), ("ext", &state.ext)] {
        let _ = write!(out, " {name}={} {name}.port={}", host.addr.v6(), host.port.get());
    }
    for (name, peer) in [("src", &state.src), ("dst", &state.dst)] {
        let _ = write!(
            out,
            " {name}.state={} {name}.seqlo={} {name}.seqhi={} {name}.seqdiff={} {name}.max_win={} {name}.mss={} \
             {name}.wscale={} {name}.scrub={},{},{},{}",
            peer.state,
            peer.seqlo,
            peer.seqhi,
            peer.seqdiff,
            peer.max_win,
            peer.mss,
            peer.wscale,
            peer.scrub.scrub_flag,
            peer.scrub.flags,
            peer.scrub.ttl,
            peer.scrub.ts_mod,
        );
    }
    let [packets_out, packets_in] = state.packets.map(join_counter);
    let [bytes_out, bytes_in] = state.bytes.map(join_counter);
    let _ = writeln!(
        out,
        " rt={} rule={} anchor={} nat_rule={} creation={} expire={} packets={packets_out},{packets_in} \
         bytes={bytes_out},{bytes_in} log={} allow_opts={} timeout={} sync_flags={} updates={}",
        state.rt_addr.v6(),
        state.rule as i32,
        state.anchor as i32,
        state.nat_rule as i32,
        state.creation,
        state.expire,
        state.log,
        state.allow_opts,
        state.timeout,
        state.sync_flags,
        state.updates,
    );
}

/// A name of an interface, without the zeros at its end; bytes that would break the line are `%` and two hexadecimal digits.
fn escape(name: &[u8]) -> String {
    let end = name.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut text = String::new();
    for byte in &name[..end] {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
    }
    text
}

fn unescape(text: &str) -> Option<IfName> {
    use zerocopy::FromBytes as _;

    let mut bytes = [0; pf_abi::IFNAMSIZ];
    let mut rest = text.bytes();
    for slot in &mut bytes {
        *slot = match rest.next() {
            None => break,
            Some(b'%') => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            Some(byte) => byte,
        };
    }
    rest.next().is_none().then_some(())?;
    IfName::read_from_bytes(&bytes).ok()
}

/// The dump in the bytes of a file.
pub fn decode(bytes: &[u8]) -> Result<Dump, FormatError> {
    let truncated = |wanted: usize| FormatError::Truncated {
        wanted: wanted as u64,
        found: bytes.len() as u64,
    };
    let text = std::str::from_utf8(bytes).map_err(|_| corrupt("not text", 0))?;
    let mut lines = text.split_inclusive('\n').enumerate();
    let header = match lines.next() {
        Some((_, line)) if line.ends_with('\n') => Line::parse(line, 1)?,
        _ => return Err(truncated(bytes.len() + 1)),
    };
    if header.word != MAGIC {
        return Err(FormatError::Foreign);
    }
    let version = header.get("version")?;
    if version != VERSION {
        return Err(FormatError::Version(version));
    }
    let (rules, states): (usize, usize) = (header.get("rules")?, header.get("states")?);
    let mut dump = Dump {
        created: header.get("created")?,
        ..Dump::default()
    };
    for (index, line) in lines {
        if !line.ends_with('\n') {
            return Err(truncated(bytes.len() + 1));
        }
        let line = Line::parse(line, index + 1)?;
        match line.word {
            "rule" => dump.rules.push(rule(&line)?),
            "state" => dump.states.push(state(&line)?),
            "end" => {
                // Whatever was read above, only the very bytes that such a dump has are taken.
                if dump.rules.len() != rules || dump.states.len() != states || encode(&dump) != text {
                    return Err(corrupt("the checksum or the number of lines does not fit", index + 1));
                }
                return Ok(dump);
            }
            _ => return Err(corrupt("an unknown line", index + 1)),
        }
    }
    Err(truncated(bytes.len() + 1))
}

fn corrupt(what: &str, line: usize) -> FormatError {
    FormatError::Corrupt(match line {
        0 => what.to_owned(),
        _ => format!("line {line}: {what}"),
    })
}

/// A line: its first word, and values by key.
struct Line<'a> {
    word: &'a str,
    values: BTreeMap<&'a str, &'a str>,
    number: usize,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str, number: usize) -> Result<Self, FormatError> {
        let mut words = line.trim_end_matches('\n').split(' ');
        let word = words.next().unwrap_or_default();
        let values = words
            .map(|word| word.split_once('='))
            .collect::<Option<_>>()
            .ok_or_else(|| corrupt("a word without `=`", number))?;
        Ok(Self { word, values, number })
    }

    fn text(&self, key: &str) -> Result<&'a str, FormatError> {
        self.values
            .get(key)
            .copied()
            .ok_or_else(|| corrupt(&format!("no `{key}`"), self.number))
    }

    fn get<T: FromStr>(&self, key: &str) -> Result<T, FormatError> {
        self.text(key)?.parse().map_err(|_| self.wrong(key))
    }

    fn hex(&self, key: &str) -> Result<u64, FormatError> {
        u64::from_str_radix(self.text(key)?, 16).map_err(|_| self.wrong(key))
    }

    /// A rule's number, -1 for none.
    fn rule_number(&self, key: &str) -> Result<u32, FormatError> {
        self.get::<i32>(key).map(|number| number as u32)
    }

    fn list<T: FromStr, const N: usize>(&self, key: &str) -> Result<[T; N], FormatError> {
        self.text(key)?
            .split(',')
            .map(|number| number.parse().ok())
            .collect::<Option<Vec<T>>>()
            .and_then(|list| list.try_into().ok())
            .ok_or_else(|| self.wrong(key))
    }

    fn addr(&self, key: &str) -> Result<Addr, FormatError> {
        self.get::<Ipv6Addr>(key).map(Addr::from_v6)
    }

    fn wrong(&self, key: &str) -> FormatError {
        corrupt(&format!("`{key}` is not what it should be"), self.number)
    }
}

fn rule(line: &Line<'_>) -> Result<RuleRecord, FormatError> {
    let digits = line.text("identity")?;
    let identity = (digits.len() == 32)
        .then(|| u128::from_str_radix(digits, 16).ok())
        .flatten()
        .ok_or_else(|| line.wrong("identity"))?;
    Ok(RuleRecord {
        kind: kind_of(line.get("kind")?).ok_or_else(|| line.wrong("kind"))?,
        number: line.get("number")?,
        ordinal: line.get("ordinal")?,
        identity: Identity(identity.to_be_bytes()),
    })
}

fn host(line: &Line<'_>, name: &str) -> Result<SyncHost, FormatError> {
    Ok(SyncHost::new(line.addr(name)?, line.get(&format!("{name}.port"))?))
}

fn peer(line: &Line<'_>, name: &str) -> Result<SyncPeer, FormatError> {
    let key = |part: &str| format!("{name}.{part}");
    let [scrub_flag, flags, ttl, ts_mod] = line.list::<u32, 4>(&key("scrub"))?;
    let wrong = || line.wrong("scrub");
    Ok(SyncPeer {
        state: line.get(&key("state"))?,
        seqlo: line.get(&key("seqlo"))?,
        seqhi: line.get(&key("seqhi"))?,
        seqdiff: line.get(&key("seqdiff"))?,
        max_win: line.get(&key("max_win"))?,
        mss: line.get(&key("mss"))?,
        wscale: line.get(&key("wscale"))?,
        scrub: SyncScrub {
            scrub_flag: scrub_flag.try_into().map_err(|_| wrong())?,
            flags: flags.try_into().map_err(|_| wrong())?,
            ttl: ttl.try_into().map_err(|_| wrong())?,
            ts_mod,
        },
        ..SyncPeer::default()
    })
}

fn state(line: &Line<'_>) -> Result<SyncState, FormatError> {
    Ok(SyncState {
        id: SyncState::id_of(line.hex("id")?),
        creatorid: u32::try_from(line.hex("creatorid")?)
            .map_err(|_| line.wrong("creatorid"))?
            .to_be(),
        ifname: unescape(line.text("if")?).ok_or_else(|| line.wrong("if"))?,
        af: line.get("af")?,
        proto: line.get("proto")?,
        direction: line.get("direction")?,
        lan: host(line, "lan")?,
        gwy: host(line, "gwy")?,
        ext: host(line, "ext")?,
        src: peer(line, "src")?,
        dst: peer(line, "dst")?,
        rt_addr: line.addr("rt")?,
        rule: line.rule_number("rule")?,
        anchor: line.rule_number("anchor")?,
        nat_rule: line.rule_number("nat_rule")?,
        creation: line.get("creation")?,
        expire: line.get("expire")?,
        packets: line.list::<u64, 2>("packets")?.map(split_counter),
        bytes: line.list::<u64, 2>("bytes")?.map(split_counter),
        log: line.get("log")?,
        allow_opts: line.get("allow_opts")?,
        timeout: line.get("timeout")?,
        sync_flags: line.get("sync_flags")?,
        updates: line.get("updates")?,
    })
}
