//! Compiles what this crate says beside what NetBSD's own headers say: every size, offset, constant and ioctl number, as
//! `_Static_assert`s that clang checks for NetBSD/amd64. No NetBSD has to run.
//!
//! The headers and the compiler come from the `ziglang` wheel that `scripts/netbsd-headers` unpacks: `PF_ZIG_10` and
//! `PF_ZIG_11` say where.

use pf_abi::*;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

const INCLUDES: &str = "\
#include <sys/param.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/ioctl.h>
#include <sys/errno.h>
#include <stddef.h>
#include <net/if.h>
#include <netinet/in.h>
#include <net/pfvar.h>
#include <net/if_pflog.h>
";

/// Asserts a struct's size, and of each field its offset and size.
macro_rules! structs {
    ($out:ident; $($rust:ident = $c:literal { $($field:ident = $cfield:literal),* $(,)? })*) => {$(
        assert_size::<$rust>($out, $c);
        $(assert_field($out, $c, $cfield, offset_of!($rust, $field), field_size(|s: &$rust| size_of_val(&s.$field)));)*
    )*};
}

/// Asserts constants that have the same name in C and in Rust.
macro_rules! constants {
    ($out:ident; $($name:ident)*) => {
        $(assert_value($out, stringify!($name), $name as i128);)*
    };
}

fn field_size<T: Default>(size: impl Fn(&T) -> usize) -> usize {
    size(&T::default())
}

fn assert_size<T>(out: &mut String, c: &str) {
    let size = size_of::<T>();
    writeln!(out, "_Static_assert(sizeof({c}) == {size}, \"sizeof {c}\");").unwrap();
}

fn assert_field(out: &mut String, c: &str, field: &str, offset: usize, size: usize) {
    writeln!(
        out,
        "_Static_assert(offsetof({c}, {field}) == {offset}, \"offset of {c} {field}\");\n\
         _Static_assert(sizeof((({c} *)0)->{field}) == {size}, \"size of {c} {field}\");"
    )
    .unwrap();
}

/// Compares as 64 bits, so that -1 and its unsigned likeness differ no more than in C.
fn assert_value(out: &mut String, c: &str, value: i128) {
    let value = value as u64;
    writeln!(
        out,
        "_Static_assert((unsigned long)({c}) == {value}ul, \"value of {c}\");"
    )
    .unwrap();
}

/// The names that a C macro lists, as `"a", "b", ...` with a final NULL.
fn assert_names<'a>(compiler: &Compiler, list: &str, names: impl IntoIterator<Item = &'a str>) {
    let expanded = compiler
        .run(&["-E", "-P"], &format!("names_begin {list} names_end"))
        .unwrap_or_else(|message| panic!("{list}: {message}"));
    let (_, expanded) = expanded.split_once("names_begin").expect("the marker");
    let (expanded, _) = expanded.split_once("names_end").expect("the marker");
    let ours: Vec<&str> = names.into_iter().collect();
    let theirs: Vec<&str> = expanded.split('"').skip(1).step_by(2).collect();
    assert_eq!(ours, theirs, "{list}");
}

fn structs(out: &mut String) {
    structs! { out;
        Addr = "struct pf_addr" {}
        AddrMask = "__typeof__(((struct pf_addr_wrap *)0)->v.a)" { addr = "addr", mask = "mask" }
        AddrWrap = "struct pf_addr_wrap" { a = "v", p = "p", kind = "type", iflags = "iflags" }
        RuleAddr = "struct pf_rule_addr" { addr = "addr", port = "port", neg = "neg", port_op = "port_op" }
        PoolAddr = "struct pf_pooladdr" { addr = "addr", entries = "entries", ifname = "ifname", kif = "kif" }
        Pool = "struct pf_pool" {
            list = "list", cur = "cur", key = "key", counter = "counter", tblidx = "tblidx",
            proxy_port = "proxy_port", port_op = "port_op", opts = "opts",
        }
        RuleId = "struct pf_rule_uid" { id = "uid", op = "op" }
        RuleId = "struct pf_rule_gid" { id = "gid", op = "op" }
        ConnRate = "__typeof__(((struct pf_rule *)0)->max_src_conn_rate)" { limit = "limit", seconds = "seconds" }
        Rule = "struct pf_rule" {
            src = "src", dst = "dst", skip = "skip", label = "label", ifname = "ifname", qname = "qname",
            pqname = "pqname", tagname = "tagname", match_tagname = "match_tagname",
            overload_tblname = "overload_tblname", entries = "entries", rpool = "rpool",
            evaluations = "evaluations", packets = "packets", bytes = "bytes", kif = "kif", anchor = "anchor",
            overload_tbl = "overload_tbl", os_fingerprint = "os_fingerprint", rtableid = "rtableid",
            timeout = "timeout", states = "states", max_states = "max_states", src_nodes = "src_nodes",
            max_src_nodes = "max_src_nodes", max_src_states = "max_src_states", max_src_conn = "max_src_conn",
            max_src_conn_rate = "max_src_conn_rate", qid = "qid", pqid = "pqid", rt_listid = "rt_listid",
            nr = "nr", prob = "prob", cuid = "cuid", cpid = "cpid", return_icmp = "return_icmp",
            return_icmp6 = "return_icmp6", max_mss = "max_mss", tag = "tag", match_tag = "match_tag",
            uid = "uid", gid = "gid", rule_flag = "rule_flag", action = "action", direction = "direction",
            log = "log", logif = "logif", quick = "quick", ifnot = "ifnot", match_tag_not = "match_tag_not",
            natpass = "natpass", keep_state = "keep_state", af = "af", proto = "proto", kind = "type",
            code = "code", flags = "flags", flagset = "flagset", min_ttl = "min_ttl", allow_opts = "allow_opts",
            rt = "rt", return_ttl = "return_ttl", tos = "tos", anchor_relative = "anchor_relative",
            anchor_wildcard = "anchor_wildcard", flush = "flush",
        }
        SyncScrub = "struct pfsync_state_scrub" {
            flags = "pfss_flags", ttl = "pfss_ttl", scrub_flag = "scrub_flag", ts_mod = "pfss_ts_mod",
        }
        SyncHost = "struct pfsync_state_host" { addr = "addr", port = "port" }
        SyncPeer = "struct pfsync_state_peer" {
            scrub = "scrub", seqlo = "seqlo", seqhi = "seqhi", seqdiff = "seqdiff", max_win = "max_win", mss = "mss",
            state = "state", wscale = "wscale",
        }
        SyncState = "struct pfsync_state" {
            id = "id", ifname = "ifname", lan = "lan", gwy = "gwy", ext = "ext", src = "src", dst = "dst",
            rt_addr = "rt_addr", rule = "rule", anchor = "anchor", nat_rule = "nat_rule", creation = "creation",
            expire = "expire", packets = "packets", bytes = "bytes", creatorid = "creatorid", af = "af",
            proto = "proto", direction = "direction", log = "log", allow_opts = "allow_opts", timeout = "timeout",
            sync_flags = "sync_flags", updates = "updates",
        }
        Status = "struct pf_status" {
            counters = "counters", lcounters = "lcounters", fcounters = "fcounters", scounters = "scounters",
            pcounters = "pcounters", bcounters = "bcounters", stateid = "stateid", running = "running",
            states = "states", src_nodes = "src_nodes", since = "since", debug = "debug", hostid = "hostid",
            ifname = "ifname", pf_chksum = "pf_chksum",
        }
        Table = "struct pfr_table" {
            anchor = "pfrt_anchor", name = "pfrt_name", flags = "pfrt_flags", fback = "pfrt_fback",
        }
        TableAddr = "struct pfr_addr" {
            addr = "pfra_u", af = "pfra_af", net = "pfra_net", not = "pfra_not", fback = "pfra_fback",
        }
        TableAddrStats = "struct pfr_astats" {
            a = "pfras_a", packets = "pfras_packets", bytes = "pfras_bytes", tzero = "pfras_tzero",
        }
        TableStats = "struct pfr_tstats" {
            t = "pfrts_t", packets = "pfrts_packets", bytes = "pfrts_bytes", matched = "pfrts_match",
            nomatch = "pfrts_nomatch", tzero = "pfrts_tzero", cnt = "pfrts_cnt", refcnt = "pfrts_refcnt",
        }
        Threshold = "struct pf_threshold" { limit = "limit", seconds = "seconds", count = "count", last = "last" }
        SrcNode = "struct pf_src_node" {
            entry = "entry", addr = "addr", raddr = "raddr", rule = "rule", kif = "kif", bytes = "bytes",
            packets = "packets", states = "states", conn = "conn", conn_rate = "conn_rate", creation = "creation",
            expire = "expire", af = "af", ruletype = "ruletype",
        }
        OsfpEntry = "struct pf_osfp_entry" {
            entry = "fp_entry", os = "fp_os", enflags = "fp_enflags", class_nm = "fp_class_nm",
            version_nm = "fp_version_nm", subtype_nm = "fp_subtype_nm",
        }
        OsfpIoctl = "struct pf_osfp_ioctl" {
            os = "fp_os", tcpopts = "fp_tcpopts", wsize = "fp_wsize", psize = "fp_psize", mss = "fp_mss",
            flags = "fp_flags", optcnt = "fp_optcnt", wscale = "fp_wscale", ttl = "fp_ttl", getnum = "fp_getnum",
        }
        Altq = "struct pf_altq" {
            ifname = "ifname", disc = "altq_disc", entries = "entries", scheduler = "scheduler", tbrsize = "tbrsize",
            ifbandwidth = "ifbandwidth", qname = "qname", parent = "parent", parent_qid = "parent_qid",
            bandwidth = "bandwidth", priority = "priority", qlimit = "qlimit", flags = "flags", pq_u = "pq_u",
            qid = "qid",
        }
        Kif = "struct pfi_kif" {
            name = "pfik_name", tree = "pfik_tree", packets = "pfik_packets", bytes = "pfik_bytes",
            tzero = "pfik_tzero", flags = "pfik_flags", ah_cookie = "pfik_ah_cookie", ifp = "pfik_ifp",
            group = "pfik_group", states = "pfik_states", rules = "pfik_rules", dynaddrs = "pfik_dynaddrs",
        }
        LogHeader = "struct pfloghdr" {
            length = "length", af = "af", action = "action", reason = "reason", ifname = "ifname",
            ruleset = "ruleset", rulenr = "rulenr", subrulenr = "subrulenr", uid = "uid", pid = "pid",
            rule_uid = "rule_uid", rule_pid = "rule_pid", dir = "dir",
        }
    }
}

fn arguments(out: &mut String) {
    structs! { out;
        IocPoolAddr = "struct pfioc_pooladdr" {
            action = "action", ticket = "ticket", nr = "nr", r_num = "r_num", r_action = "r_action",
            r_last = "r_last", af = "af", anchor = "anchor", addr = "addr",
        }
        IocRule = "struct pfioc_rule" {
            action = "action", ticket = "ticket", pool_ticket = "pool_ticket", nr = "nr", anchor = "anchor",
            anchor_call = "anchor_call", rule = "rule",
        }
        IocNatlook = "struct pfioc_natlook" {
            saddr = "saddr", daddr = "daddr", rsaddr = "rsaddr", rdaddr = "rdaddr", sport = "sport",
            dport = "dport", rsport = "rsport", rdport = "rdport", af = "af", proto = "proto",
            direction = "direction",
        }
        IocState = "struct pfioc_state" { nr = "nr", state = "state" }
        IocSrcNodeKill = "struct pfioc_src_node_kill" { af = "psnk_af", src = "psnk_src", dst = "psnk_dst" }
        IocStateKill = "struct pfioc_state_kill" {
            af = "psk_af", proto = "psk_proto", src = "psk_src", dst = "psk_dst", ifname = "psk_ifname",
        }
        IocStates = "struct pfioc_states" { len = "ps_len", buf = "ps_u" }
        IocSrcNodes = "struct pfioc_src_nodes" { len = "psn_len", buf = "psn_u" }
        IocIf = "struct pfioc_if" { ifname = "ifname" }
        IocTm = "struct pfioc_tm" { timeout = "timeout", seconds = "seconds" }
        IocLimit = "struct pfioc_limit" { index = "index", limit = "limit" }
        IocAltq = "struct pfioc_altq" { action = "action", ticket = "ticket", nr = "nr", altq = "altq" }
        IocQstats = "struct pfioc_qstats" {
            ticket = "ticket", nr = "nr", buf = "buf", nbytes = "nbytes", scheduler = "scheduler",
        }
        IocRuleset = "struct pfioc_ruleset" { nr = "nr", path = "path", name = "name" }
        IocTrans = "struct pfioc_trans" { size = "size", esize = "esize", array = "array" }
        IocTransE = "struct pfioc_trans_e" { rs_num = "rs_num", anchor = "anchor", ticket = "ticket" }
        IocTable = "struct pfioc_table" {
            table = "pfrio_table", buffer = "pfrio_buffer", esize = "pfrio_esize", size = "pfrio_size",
            size2 = "pfrio_size2", nadd = "pfrio_nadd", ndel = "pfrio_ndel", nchange = "pfrio_nchange",
            flags = "pfrio_flags", ticket = "pfrio_ticket",
        }
        IocIface = "struct pfioc_iface" {
            name = "pfiio_name", buffer = "pfiio_buffer", esize = "pfiio_esize", size = "pfiio_size",
            nzero = "pfiio_nzero", flags = "pfiio_flags",
        }
    }
}

fn ioctls(out: &mut String) {
    constants! { out;
        DIOCSTART DIOCSTOP DIOCADDRULE DIOCGETRULES DIOCGETRULE DIOCSETLCK DIOCCLRSTATES DIOCGETSTATE
        DIOCSETSTATUSIF DIOCGETSTATUS DIOCCLRSTATUS DIOCNATLOOK DIOCSETDEBUG DIOCGETSTATES DIOCCHANGERULE
        DIOCSETTIMEOUT DIOCGETTIMEOUT DIOCADDSTATE DIOCCLRRULECTRS DIOCGETLIMIT DIOCSETLIMIT DIOCKILLSTATES
        DIOCSTARTALTQ DIOCSTOPALTQ DIOCADDALTQ DIOCGETALTQS DIOCGETALTQ DIOCCHANGEALTQ DIOCGETQSTATS
        DIOCBEGINADDRS DIOCADDADDR DIOCGETADDRS DIOCGETADDR DIOCCHANGEADDR DIOCADDSTATES DIOCGETRULESETS
        DIOCGETRULESET DIOCRCLRTABLES DIOCRADDTABLES DIOCRDELTABLES DIOCRGETTABLES DIOCRGETTSTATS DIOCRCLRTSTATS
        DIOCRCLRADDRS DIOCRADDADDRS DIOCRDELADDRS DIOCRSETADDRS DIOCRGETADDRS DIOCRGETASTATS DIOCRCLRASTATS
        DIOCRTSTADDRS DIOCRSETTFLAGS DIOCRINADEFINE DIOCOSFPFLUSH DIOCOSFPADD DIOCOSFPGET DIOCXBEGIN DIOCXCOMMIT
        DIOCXROLLBACK DIOCGETSRCNODES DIOCCLRSRCNODES DIOCSETHOSTID DIOCIGETIFACES DIOCSETIFFLAG DIOCCLRIFFLAG
        DIOCKILLSRCNODES
    }
}

fn constants(out: &mut String) {
    use pf_abi::errno::*;

    constants! { out;
        AF_UNSPEC AF_INET AF_INET6 IFNAMSIZ MAXPATHLEN
        PF_ADDR_ADDRMASK PF_ADDR_NOROUTE PF_ADDR_DYNIFTL PF_ADDR_TABLE PF_ADDR_RTLABEL PF_ADDR_URPFFAILED
        PFI_AFLAG_NETWORK PFI_AFLAG_BROADCAST PFI_AFLAG_PEER PFI_AFLAG_MODEMASK PFI_AFLAG_NOALIAS
        PF_TABLE_NAME_SIZE PF_OP_NONE PF_OP_IRG PF_OP_EQ PF_OP_NE PF_OP_LT PF_OP_LE PF_OP_GT PF_OP_GE PF_OP_XRG
        PF_OP_RRG PF_POOL_TYPEMASK PF_POOL_STICKYADDR PF_POOL_NONE PF_POOL_BITMASK PF_POOL_RANDOM PF_POOL_SRCHASH
        PF_POOL_ROUNDROBIN
        PF_INOUT PF_IN PF_OUT PF_PASS PF_DROP PF_SCRUB PF_NOSCRUB PF_NAT PF_NONAT PF_BINAT PF_NOBINAT PF_RDR PF_NORDR
        PF_SYNPROXY_DROP PF_RULESET_SCRUB PF_RULESET_FILTER PF_RULESET_NAT PF_RULESET_BINAT PF_RULESET_RDR
        PF_RULESET_MAX PF_RULESET_ALTQ PF_RULESET_TABLE PF_CHANGE_NONE PF_CHANGE_ADD_HEAD PF_CHANGE_ADD_TAIL
        PF_CHANGE_ADD_BEFORE PF_CHANGE_ADD_AFTER PF_CHANGE_REMOVE PF_CHANGE_GET_TICKET PF_GET_NONE PF_GET_CLR_CNTR
        PF_NOPFROUTE PF_FASTROUTE PF_ROUTETO PF_DUPTO PF_REPLYTO PF_LOG PF_LOG_ALL PF_LOG_SOCKET_LOOKUP
        PF_STATE_NORMAL PF_STATE_MODULATE PF_STATE_SYNPROXY
        PFRULE_DROP PFRULE_RETURNRST PFRULE_FRAGMENT PFRULE_RETURNICMP PFRULE_RETURN PFRULE_NOSYNC PFRULE_SRCTRACK
        PFRULE_RULESRCTRACK PFRULE_NODF PFRULE_FRAGCROP PFRULE_FRAGDROP PFRULE_RANDOMID PFRULE_REASSEMBLE_TCP
        PFRULE_IFBOUND PF_FLUSH PF_FLUSH_GLOBAL PF_SKIP_COUNT PF_RULE_LABEL_SIZE PF_QNAME_SIZE PF_TAG_NAME_SIZE
        PF_ANCHOR_NAME_SIZE PF_OSFP_ANY PF_OSFP_UNKNOWN PF_OSFP_NOMATCH
        PFSYNC_SCRUB_FLAG_VALID PFSYNC_FLAG_COMPRESS PFSYNC_FLAG_STALE PFSYNC_FLAG_SRCNODE PFSYNC_FLAG_NATSRCNODE
        PFSS_TIMESTAMP PFSS_PAWS PFSS_PAWS_IDLED PFSS_DATA_TS PFSS_DATA_NOTS PF_WSCALE_FLAG PF_WSCALE_MASK
        PFSTATE_HIWAT PFSTATE_ADAPT_START PFSTATE_ADAPT_END
        TCPS_CLOSED TCPS_LISTEN TCPS_SYN_SENT TCPS_SYN_RECEIVED TCPS_ESTABLISHED TCPS_CLOSE_WAIT TCPS_FIN_WAIT_1
        TCPS_CLOSING TCPS_LAST_ACK TCPS_FIN_WAIT_2 TCPS_TIME_WAIT TCP_NSTATES PF_TCPS_PROXY_SRC PF_TCPS_PROXY_DST
        PFUDPS_NO_TRAFFIC PFUDPS_SINGLE PFUDPS_MULTIPLE PFUDPS_NSTATES PFOTHERS_NO_TRAFFIC PFOTHERS_SINGLE
        PFOTHERS_MULTIPLE PFOTHERS_NSTATES
        PFTM_TCP_FIRST_PACKET PFTM_TCP_OPENING PFTM_TCP_ESTABLISHED PFTM_TCP_CLOSING PFTM_TCP_FIN_WAIT
        PFTM_TCP_CLOSED PFTM_UDP_FIRST_PACKET PFTM_UDP_SINGLE PFTM_UDP_MULTIPLE PFTM_ICMP_FIRST_PACKET
        PFTM_ICMP_ERROR_REPLY PFTM_OTHER_FIRST_PACKET PFTM_OTHER_SINGLE PFTM_OTHER_MULTIPLE PFTM_FRAG
        PFTM_INTERVAL PFTM_ADAPTIVE_START PFTM_ADAPTIVE_END PFTM_SRC_NODE PFTM_TS_DIFF PFTM_MAX PFTM_PURGE
        PFTM_UNLINKED PFTM_UNTIL_PACKET
        PFTM_TCP_FIRST_PACKET_VAL PFTM_TCP_OPENING_VAL PFTM_TCP_ESTABLISHED_VAL PFTM_TCP_CLOSING_VAL
        PFTM_TCP_FIN_WAIT_VAL PFTM_TCP_CLOSED_VAL PFTM_UDP_FIRST_PACKET_VAL PFTM_UDP_SINGLE_VAL
        PFTM_UDP_MULTIPLE_VAL PFTM_ICMP_FIRST_PACKET_VAL PFTM_ICMP_ERROR_REPLY_VAL PFTM_OTHER_FIRST_PACKET_VAL
        PFTM_OTHER_SINGLE_VAL PFTM_OTHER_MULTIPLE_VAL PFTM_FRAG_VAL PFTM_INTERVAL_VAL PFTM_SRC_NODE_VAL
        PFTM_TS_DIFF_VAL
        PF_LIMIT_STATES PF_LIMIT_SRC_NODES PF_LIMIT_FRAGS PF_LIMIT_TABLES PF_LIMIT_TABLE_ENTRIES PF_LIMIT_MAX
        PFSNODE_HIWAT PFFRAG_FRENT_HIWAT PFFRAG_FRAG_HIWAT PFR_KTABLE_HIWAT PFR_KENTRY_HIWAT
        PFRES_MATCH PFRES_BADOFF PFRES_FRAG PFRES_SHORT PFRES_NORM PFRES_MEMORY PFRES_TS PFRES_CONGEST
        PFRES_IPOPTIONS PFRES_PROTCKSUM PFRES_BADSTATE PFRES_STATEINS PFRES_MAXSTATES PFRES_SRCLIMIT PFRES_SYNPROXY
        PFRES_STATELOCKED PFRES_MAX
        LCNT_STATES LCNT_SRCSTATES LCNT_SRCNODES LCNT_SRCCONN LCNT_SRCCONNRATE LCNT_OVERLOAD_TABLE
        LCNT_OVERLOAD_FLUSH LCNT_MAX FCNT_STATE_SEARCH FCNT_STATE_INSERT FCNT_STATE_REMOVALS FCNT_MAX
        SCNT_SRC_NODE_SEARCH SCNT_SRC_NODE_INSERT SCNT_SRC_NODE_REMOVALS SCNT_MAX
        PF_DEBUG_NONE PF_DEBUG_URGENT PF_DEBUG_MISC PF_DEBUG_NOISY PF_MD5_DIGEST_LENGTH
        PFR_TFLAG_PERSIST PFR_TFLAG_CONST PFR_TFLAG_ACTIVE PFR_TFLAG_INACTIVE PFR_TFLAG_REFERENCED
        PFR_TFLAG_REFDANCHOR PFR_TFLAG_USRMASK PFR_TFLAG_SETMASK PFR_TFLAG_ALLMASK
        PFR_FB_NONE PFR_FB_MATCH PFR_FB_ADDED PFR_FB_DELETED PFR_FB_CHANGED PFR_FB_CLEARED PFR_FB_DUPLICATE
        PFR_FB_NOTMATCH PFR_FB_CONFLICT PFR_FB_MAX
        PFR_FLAG_ATOMIC PFR_FLAG_DUMMY PFR_FLAG_FEEDBACK PFR_FLAG_CLSTATS PFR_FLAG_ADDRSTOO PFR_FLAG_REPLACE
        PFR_FLAG_ALLRSETS PFR_FLAG_ALLMASK
        PFR_DIR_IN PFR_DIR_OUT PFR_DIR_MAX PFR_OP_BLOCK PFR_OP_PASS PFR_OP_ADDR_MAX PFR_OP_XPASS PFR_OP_TABLE_MAX
        PFR_REFCNT_RULE PFR_REFCNT_ANCHOR PFR_REFCNT_MAX
        PF_THRESHOLD_MULT PF_OSFP_LEN PF_OSFP_EXPANDED PF_OSFP_GENERIC PF_OSFP_NODETAIL PFI_IFLAG_SKIP
        PFLOG_RULESET_NAME_SIZE PFLOG_HDRLEN PFLOG_REAL_HDRLEN PFLOGIFS_MAX UID_MAX
        EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG EBADF ENOMEM EACCES EFAULT EBUSY EEXIST ENODEV EINVAL ENOTTY ENOSPC
        EAGAIN EOPNOTSUPP EAFNOSUPPORT EADDRINUSE ENOBUFS ENAMETOOLONG EHOSTUNREACH ENOSYS EOVERFLOW
    }
}

/// clang with the headers of one NetBSD release.
struct Compiler {
    zig: PathBuf,
    target: String,
    directory: tempfile::TempDir,
}

impl Compiler {
    /// Finds the wheel by the variable that says where it lies.
    fn new(variable: &str, release: &str) -> Self {
        let Some(wheel) = std::env::var_os(variable) else {
            panic!(
                "{variable} is not set: run this test as \
                 `{variable}=$(scripts/netbsd-headers {release}) cargo test -p pf-abi`, \
                 which fetches NetBSD {release}'s headers once"
            );
        };
        Self {
            zig: Path::new(&wheel).join("zig"),
            target: format!("x86_64-netbsd.{release}-none"),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs it over C text that follows the includes: what it printed, or what it complained about.
    fn run(&self, arguments: &[&str], text: &str) -> Result<String, String> {
        let source = self.directory.path().join("abi.c");
        std::fs::write(&source, format!("{INCLUDES}\n{text}\n")).unwrap();
        let output = Command::new(&self.zig)
            .env("ZIG_GLOBAL_CACHE_DIR", self.directory.path())
            .env("ZIG_LOCAL_CACHE_DIR", self.directory.path())
            .current_dir(self.directory.path())
            .args(["cc", "-target", &self.target, "-ferror-limit=0"])
            .args(arguments)
            .arg(&source)
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.zig.display()));
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

fn check(variable: &str, release: &str, version: u64) {
    let compiler = Compiler::new(variable, release);
    let mut text = String::new();
    assert_value(&mut text, "__NetBSD_Version__ / 100000000", version as i128);
    structs(&mut text);
    arguments(&mut text);
    ioctls(&mut text);
    constants(&mut text);
    if let Err(message) = compiler.run(&["-c"], &text) {
        panic!("NetBSD {release} disagrees:\n{message}");
    }

    assert_names(&compiler, "PFRES_NAMES", Reason::ALL.iter().map(|reason| reason.name()));
    assert_names(&compiler, "LCNT_NAMES", LCNT_NAMES);
    assert_names(&compiler, "PFUDPS_NAMES", UDP_STATE_NAMES);
    assert_names(&compiler, "PFOTHERS_NAMES", UDP_STATE_NAMES);
    assert_names(&compiler, "PF_RESERVED_ANCHOR", [PF_RESERVED_ANCHOR]);

    // A wrong assertion must not get through, or the above has shown nothing.
    let wrong = "_Static_assert(sizeof(struct pf_rule) == 911, \"sizeof struct pf_rule\");";
    let message = compiler.run(&["-c"], wrong).expect_err("a wrong size was taken");
    assert!(message.contains("sizeof struct pf_rule"), "{message}");
}

#[test]
fn netbsd_10_1_agrees() {
    check("PF_ZIG_10", "10.1", 10);
}

#[test]
fn netbsd_11_0_agrees() {
    check("PF_ZIG_11", "11.0", 11);
}
