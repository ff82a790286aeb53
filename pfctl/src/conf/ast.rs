//! What a configuration says, before macros, lists and names have become rules: one statement a line.

use super::diagnostic::{Span, Spanned};
use pf_abi::{
    Debug as DebugLevel, Direction, Limit, PF_LOG, PF_LOG_ALL, PF_LOG_SOCKET_LOOKUP, PoolKind, PortOp, Route,
    TableName, Timeout,
};

/// A line of pf.conf(5).
#[derive(Clone, Debug)]
pub enum Statement {
    /// `set ...`
    Set(SetOption),
    /// `scrub` or `no scrub`
    Scrub(ScrubRule),
    /// `pass` or `block`
    Filter(FilterRule),
    /// `nat`, `rdr`, `binat`, or one of them with `no`
    Translation(TranslationRule),
    /// `anchor` and its like
    Anchor(AnchorRule),
    /// The `}` at the end of an anchor's rules
    EndAnchor,
    /// `load anchor`
    LoadAnchor(LoadAnchor),
    /// `antispoof`
    Antispoof(Antispoof),
    /// `altq` or `queue`
    Queueing(Queueing),
    /// `table`
    Table(TableDefinition),
}

/// `altq` or `queue`, as it would be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queueing {
    /// The line.
    pub text: String,
}

/// `queue NAME` or `queue (NAME, NAME)` of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleQueue {
    /// The queue.
    pub queue: String,
    /// That of acknowledgements without data and of low-delay packets.
    pub priority: Option<String>,
}

/// `table`
#[derive(Clone, Debug)]
pub struct TableDefinition {
    /// Its name, without brackets.
    pub name: Spanned<String>,
    /// `persist`
    pub persist: bool,
    /// `const`
    pub constant: bool,
    /// What is in it; nothing at all where the table is to keep what it has.
    pub contents: Vec<TableContents>,
}

/// A part of what is in a table.
#[derive(Clone, Debug)]
pub enum TableContents {
    /// `{ ... }`
    Hosts(Vec<Spanned<HostSpec>>),
    /// `file "..."`
    File(Spanned<String>),
}

/// `set`
#[derive(Clone, Debug)]
pub enum SetOption {
    /// `set timeout`
    Timeouts(Vec<(Spanned<Timeout>, u32)>),
    /// `set limit`
    Limits(Vec<(Spanned<Limit>, u32)>),
    /// `set optimization`
    Optimization(Optimization),
    /// `set debug`
    Debug(DebugLevel),
    /// `set loginterface`; `None` for `none`
    LogInterface(Option<Spanned<String>>),
    /// `set block-policy`
    BlockPolicy(Response),
    /// `set skip on`
    Skip(Vec<Spanned<String>>),
    /// `set require-order`
    RequireOrder(bool),
    /// `set state-policy`
    StatePolicy(StatePolicy),
    /// `set hostid`
    HostId(u32),
    /// `set fingerprints`
    Fingerprints(Spanned<String>),
    /// `set ruleset-optimization`: one of [`Self::RULESET_OPTIMIZATIONS`]; rules are loaded as they are written, always.
    RulesetOptimization(Spanned<&'static str>),
}

impl SetOption {
    /// What `set ruleset-optimization` may be.
    pub const RULESET_OPTIMIZATIONS: [&str; 3] = ["none", "basic", "profile"];
}

/// A set of timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimization {
    /// `normal` or `default`
    Normal,
    /// `satellite` or `high-latency`
    HighLatency,
    /// `conservative`
    Conservative,
    /// `aggressive`
    Aggressive,
}

/// What packets of other interfaces a state lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatePolicy {
    /// `floating`: on any interface.
    Floating,
    /// `if-bound`: on its own only.
    IfBound,
}

/// How a blocked packet is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// `drop`: not at all.
    Drop,
    /// `return`: as its protocol would.
    Return,
    /// `return-rst`, with a TTL or 0.
    ReturnRst(u8),
    /// `return-icmp` or `return-icmp6`, with the codes of both.
    ReturnIcmp(u8, u8),
}

/// What a filter rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `pass`
    Pass,
    /// `block`; `None` for the block policy's response.
    Block(Option<Response>),
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Af {
    /// `inet`
    Inet,
    /// `inet6`
    Inet6,
}

impl Af {
    /// NetBSD's number.
    pub fn number(self) -> u8 {
        match self {
            Self::Inet => pf_abi::AF_INET,
            Self::Inet6 => pf_abi::AF_INET6,
        }
    }
}

/// `log`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// `(all)`
    pub all: bool,
    /// `(user)`
    pub owner: bool,
    /// `(to pflogN)`
    pub interface: u8,
}

impl Log {
    /// As a rule has it: `PF_LOG*`.
    pub fn flags(&self) -> u8 {
        let all = if self.all { PF_LOG_ALL } else { 0 };
        let owner = if self.owner { PF_LOG_SOCKET_LOOKUP } else { 0 };
        PF_LOG | all | owner
    }
}

/// An interface that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfSpec {
    /// `!`
    pub not: bool,
    /// Its name, or its group's.
    pub name: String,
}

/// An address that a rule names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// `!`
    pub not: bool,
    /// Which it is.
    pub kind: HostKind,
}

/// The ways to name an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// `any`
    Any,
    /// `no-route`
    NoRoute,
    /// `urpf-failed`
    UrpfFailed,
    /// An address, a host or an interface by name, with `/mask` or not.
    Name(String, Option<u8>),
    /// `<name>`
    Table(String),
    /// `(em0:network)`: looked up by the kernel, for each packet anew.
    Dynamic {
        /// The interface.
        name: String,
        /// `PFI_AFLAG_*`
        flags: u8,
        /// `/mask`
        mask: Option<u8>,
    },
}

/// A comparison of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// How.
    pub op: PortOp,
    /// With which.
    pub first: Spanned<String>,
    /// The end of a range.
    pub second: Option<Spanned<String>>,
}

/// `from` or `to`. Empty lists for what is not said.
#[derive(Clone, Debug, Default)]
pub struct Endpoint {
    /// The addresses.
    pub hosts: Vec<Spanned<HostSpec>>,
    /// The ports.
    pub ports: Vec<Spanned<PortSpec>>,
}

/// What translation and filter rules have in common.
#[derive(Clone, Debug, Default)]
pub struct Match {
    /// `on`
    pub interfaces: Vec<Spanned<IfSpec>>,
    /// `inet` or `inet6`
    pub af: Option<Spanned<Af>>,
    /// `proto`, by name or number
    pub protos: Vec<Spanned<String>>,
    /// `from`
    pub from: Endpoint,
    /// `to`
    pub to: Endpoint,
    /// `from ... os`
    pub os: Vec<Spanned<String>>,
}

/// `tagged`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagSpec {
    /// `!`
    pub not: bool,
    /// The tag.
    pub name: Spanned<String>,
}

/// Criteria that few rules have.
#[derive(Clone, Debug, Default)]
pub struct Particulars {
    /// `user`, compared as ports are
    pub users: Vec<Spanned<PortSpec>>,
    /// `group`
    pub groups: Vec<Spanned<PortSpec>>,
    /// `tos`
    pub tos: Option<u8>,
    /// `tag`
    pub tag: Option<Spanned<String>>,
    /// `tagged`
    pub tagged: Option<TagSpec>,
    /// `probability`: of 2^32
    pub probability: Option<u32>,
}

/// Which rules an anchor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorKind {
    /// `anchor`
    Filter,
    /// `nat-anchor`
    Nat,
    /// `rdr-anchor`
    Rdr,
    /// `binat-anchor`
    Binat,
}

/// `anchor` and its like
#[derive(Clone, Debug)]
pub struct AnchorRule {
    /// The whole rule.
    pub span: Span,
    /// Which rules.
    pub kind: AnchorKind,
    /// Its name; `None` only with a block.
    pub name: Option<Spanned<String>>,
    /// `in` or `out`
    pub direction: Direction,
    /// `quick`
    pub quick: bool,
    /// Which packets.
    pub matching: Match,
    /// `tagged` and its like
    pub particulars: Particulars,
    /// Whether its rules follow in braces.
    pub block: bool,
}

/// `load anchor`
#[derive(Clone, Debug)]
pub struct LoadAnchor {
    /// The whole line.
    pub span: Span,
    /// The anchor.
    pub name: Spanned<String>,
    /// The file.
    pub file: Spanned<String>,
}

/// An interface of `antispoof`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AntispoofInterface {
    /// Its name.
    pub name: String,
    /// Whether it stands in parentheses.
    pub dynamic: bool,
}

/// `antispoof`
#[derive(Clone, Debug)]
pub struct Antispoof {
    /// The whole rule.
    pub span: Span,
    /// `log`
    pub log: Option<Log>,
    /// `quick`
    pub quick: bool,
    /// `for`
    pub interfaces: Vec<Spanned<AntispoofInterface>>,
    /// `inet` or `inet6`
    pub af: Option<Spanned<Af>>,
    /// `label`
    pub label: Option<Spanned<String>>,
}

/// `flags`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Those that must be set.
    pub set: u8,
    /// Of those.
    pub of: u8,
}

/// `icmp-type` or `icmp6-type`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpSpec {
    /// Of which protocol.
    pub af: Af,
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: Option<u8>,
}

/// Whether and how a rule keeps state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// `PF_STATE_*`, or 0 for `no state`.
    pub kind: u8,
    /// What stands in the parentheses.
    pub options: Vec<Spanned<StateOption>>,
}

/// An option of `keep state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateOption {
    /// `max`
    Max(u32),
    /// `no-sync`
    NoSync,
    /// `if-bound` or `floating`
    Policy(StatePolicy),
    /// `source-track`, with `rule`, with `global`, or alone
    SourceTrack(Option<SourceScope>),
    /// `max-src-nodes`
    MaxSrcNodes(u32),
    /// `max-src-states`
    MaxSrcStates(u32),
    /// `max-src-conn`
    MaxSrcConn(u32),
    /// `max-src-conn-rate`: connections and seconds
    MaxSrcConnRate(u32, u32),
    /// `overload <table>`, and `PF_FLUSH*`
    Overload(TableName, u8),
    /// A timeout.
    Timeout(Timeout, u32),
}

/// Which rules count a source's states together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceScope {
    /// `rule`
    Rule,
    /// `global`
    Global,
}

/// `pass` or `block`
#[derive(Clone, Debug)]
pub struct FilterRule {
    /// The whole rule.
    pub span: Span,
    /// What it does, and where that stands.
    pub verdict: Spanned<Verdict>,
    /// `in` or `out`
    pub direction: Direction,
    /// `log`
    pub log: Option<Log>,
    /// `queue`
    pub queue: Option<RuleQueue>,
    /// `quick`
    pub quick: bool,
    /// Which packets.
    pub matching: Match,
    /// `flags`; zero for `flags any`
    pub flags: Option<Spanned<Flags>>,
    /// `icmp-type`
    pub icmp: Vec<Spanned<IcmpSpec>>,
    /// `keep state` and its like
    pub keep: Option<Spanned<Keep>>,
    /// `fragment`
    pub fragment: Option<Span>,
    /// `allow-opts`
    pub allow_opts: Option<Span>,
    /// `label`
    pub label: Option<Spanned<String>>,
    /// `user`, `tag` and their like
    pub particulars: Particulars,
    /// `route-to` and its like
    pub route: Option<Spanned<RouteSpec>>,
}

/// `fragment`, in a scrub rule
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragments {
    /// `fragment reassemble`
    Reassemble,
    /// `fragment crop`
    Crop,
    /// `fragment drop-ovl`
    DropOverlaps,
}

/// `scrub` or `no scrub`
#[derive(Clone, Debug)]
pub struct ScrubRule {
    /// The whole rule.
    pub span: Span,
    /// `no`
    pub no: bool,
    /// `in` or `out`
    pub direction: Direction,
    /// `log`
    pub log: Option<Log>,
    /// Which packets.
    pub matching: Match,
    /// `no-df`
    pub no_df: Option<Span>,
    /// `random-id`
    pub random_id: Option<Span>,
    /// `min-ttl`
    pub min_ttl: Option<Spanned<u8>>,
    /// `max-mss`
    pub max_mss: Option<Spanned<u16>>,
    /// `fragment`
    pub fragments: Option<Spanned<Fragments>>,
    /// `reassemble tcp`
    pub reassemble_tcp: Option<Span>,
}

/// What a translation rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationKind {
    /// `nat`
    Nat,
    /// `rdr`
    Rdr,
    /// `binat`
    Binat,
}

/// The port behind `->`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectPort {
    /// The port, or where the range begins.
    pub first: Spanned<String>,
    /// Where it ends.
    pub last: RedirectEnd,
}

/// Where the range behind `->` ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectEnd {
    /// It is no range.
    Same,
    /// `port:*`: as wide as the range of the destination.
    Open,
    /// `port:port`
    At(Spanned<String>),
}

/// How an address of a pool is chosen.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `bitmask`, `random`, `source-hash` or `round-robin`
    pub kind: Option<Spanned<PoolKind>>,
    /// The key of `source-hash`.
    pub key: [u32; 4],
    /// `sticky-address`
    pub sticky: bool,
}

/// An interface and a host there, or the interface alone, to which packets are sent.
#[derive(Clone, Debug)]
pub struct RouteHost {
    /// The interface.
    pub interface: String,
    /// The host.
    pub host: Option<Spanned<HostSpec>>,
}

/// `route-to` and its like.
#[derive(Clone, Debug)]
pub struct RouteSpec {
    /// Which of them.
    pub kind: Route,
    /// Where to; empty for `fastroute`.
    pub hosts: Vec<Spanned<RouteHost>>,
    /// How one is chosen.
    pub choice: Choice,
}

/// What stands behind `->`.
#[derive(Clone, Debug)]
pub struct Target {
    /// The address or addresses.
    pub hosts: Vec<Spanned<HostSpec>>,
    /// The port.
    pub port: Option<Spanned<RedirectPort>>,
    /// `static-port`
    pub static_port: Option<Span>,
    /// How an address is chosen.
    pub choice: Choice,
}

/// `nat`, `rdr`, `binat`, or one of them with `no`
#[derive(Clone, Debug)]
pub struct TranslationRule {
    /// The whole rule.
    pub span: Span,
    /// What it does.
    pub kind: TranslationKind,
    /// `no`
    pub no: bool,
    /// `pass`
    pub pass: bool,
    /// `log`
    pub log: Option<Log>,
    /// Which packets.
    pub matching: Match,
    /// What stands behind `->`; `None` with `no`.
    pub target: Option<Target>,
    /// `tag` and `tagged`
    pub particulars: Particulars,
}
