//! The two commands as they are called, over the socket of a pf in memory.
#![cfg(target_os = "linux")]

mod support;

use pf_abi::{PF_RULESET_FILTER, PF_RULESET_NAT, Timeout};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use support::fake::{FakePf, state};
use support::server::Server;

/// What a command did.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

/// Calls the program by a name, on a server.
fn call(name: &str, server: &Server, arguments: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_pfctl"))
        .arg0(name)
        .arg("-p")
        .arg(server.socket())
        .args(arguments)
        .output()
        .unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn pfctl(server: &Server, arguments: &[&str]) -> Outcome {
    call("pfctl", server, arguments)
}

fn pfs(server: &Server, arguments: &[&str]) -> Outcome {
    call("/sbin/pfs", server, arguments)
}

fn file(server: &Server, name: &str, text: &str) -> String {
    let path = server.directory().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn with_states(count: u32) -> Server {
    Server::start(FakePf {
        states: (0..count).map(state).collect(),
        ..FakePf::default()
    })
}

const CONF: &str = "\
ext = \"em7\"
set timeout tcp.established 600
nat on $ext inet from 10.0.0.0/8 to any -> 192.0.2.1
block in
pass in on $ext inet proto tcp from any to any port 2222 label \"x\"
";

#[test]
fn rules_are_loaded_and_shown() {
    let server = Server::start(FakePf::default());
    let conf = file(&server, "pf.conf", CONF);
    let loaded = pfctl(&server, &["-e", "-f", &conf]);
    assert_eq!((loaded.code, loaded.out.as_str()), (0, ""), "{}", loaded.err);
    assert_eq!(loaded.err, "pf enabled\n");
    assert!(server.pf.lock().unwrap().running);
    assert_eq!(
        pfctl(&server, &["-sr"]).out,
        "block drop in all\n\
         pass in on em7 inet proto tcp from any to any port = 2222 flags S/SA keep state label \"x\"\n"
    );
    assert_eq!(
        pfctl(&server, &["-s", "nat"]).out,
        "nat on em7 inet from 10.0.0.0/8 to any -> 192.0.2.1\n"
    );
    assert_eq!(
        pfctl(&server, &["-vvsr"]).out.lines().take(3).collect::<Vec<_>>(),
        [
            "@0 block drop in all",
            "  [ Evaluations: 17        Packets: 0         Bytes: 0           States: 0     ]",
            "  [ Inserted: uid 0 pid 4711 ]",
        ]
    );
    assert_eq!(pfctl(&server, &["-sl"]).out, "x 17 0 0 0 0 0 0\n");
    let timeouts = pfctl(&server, &["-s", "timeouts"]).out;
    assert!(timeouts.contains("tcp.established             600s\n"), "{timeouts}");
    assert!(
        timeouts.contains("adaptive.start             6000 states\n"),
        "{timeouts}"
    );
    let limits = pfctl(&server, &["-sm"]).out;
    assert!(limits.starts_with("states        hard limit    10000\n"), "{limits}");
    let all = pfctl(&server, &["-sa"]).out;
    let titles: Vec<&str> = all.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(
        titles,
        [
            "TRANSLATION RULES:",
            "FILTER RULES:",
            "INFO:",
            "LABEL COUNTERS:",
            "TIMEOUTS:",
            "LIMITS:"
        ]
    );
}

#[test]
fn a_wrong_file_loads_nothing_and_exits_with_1() {
    let server = Server::start(FakePf::default());
    let conf = file(&server, "pf.conf", "pass in\npas out\n");
    for arguments in [&["-f", &conf][..], &["-nf", &conf], &["-ef", &conf]] {
        let outcome = pfctl(&server, arguments);
        assert_eq!(outcome.code, 1);
        assert!(outcome.err.contains("pf.conf:2:1"), "{}", outcome.err);
        assert!(
            outcome.err.ends_with("1 mistake; no rules were loaded\n"),
            "{}",
            outcome.err
        );
    }
    assert!(server.pf.lock().unwrap().calls.is_empty());
}

#[test]
fn n_only_looks() {
    let server = Server::start(FakePf::default());
    let conf = file(&server, "pf.conf", CONF);
    let outcome = pfctl(&server, &["-nvf", &conf]);
    assert_eq!(outcome.code, 0);
    assert_eq!(
        outcome.out.lines().collect::<Vec<_>>(),
        [
            "ext = \"em7\"",
            "set timeout tcp.established 600",
            "nat on em7 inet from 10.0.0.0/8 to any -> 192.0.2.1",
            "block drop in all",
            "pass in on em7 inet proto tcp from any to any port = 2222 flags S/SA keep state label \"x\"",
        ]
    );
    let other = pfctl(&server, &["-nvf", &conf, "-D", "ext=em8"]);
    assert!(other.out.contains("nat on em8 "), "{}", other.out);
    assert!(server.pf.lock().unwrap().calls.is_empty());
}

#[test]
fn rules_come_from_the_standard_input_too() {
    let server = Server::start(FakePf::default());
    let path = file(&server, "pf.conf", "block\n");
    let output = Command::new(env!("CARGO_BIN_EXE_pfctl"))
        .arg("-p")
        .arg(server.socket())
        .args(["-f", "-"])
        .stdin(std::fs::File::open(path).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(server.pf.lock().unwrap().active[&PF_RULESET_FILTER].len(), 1);
}

#[test]
fn pf_is_enabled_and_disabled_once() {
    let server = Server::start(FakePf::default());
    assert_eq!(pfctl(&server, &["-e"]).err, "pf enabled\n");
    let again = pfctl(&server, &["-e"]);
    assert_eq!((again.code, again.err.as_str()), (1, "pfctl: pf already enabled\n"));
    assert_eq!(pfctl(&server, &["-dq"]).err, "");
    let again = pfctl(&server, &["-d"]);
    assert_eq!((again.code, again.err.as_str()), (1, "pfctl: pf not enabled\n"));
}

#[test]
fn states_are_shown_and_removed() {
    let server = with_states(3);
    let shown = pfctl(&server, &["-ss"]);
    assert_eq!(shown.out.lines().count(), 3);
    assert_eq!(
        shown.out.lines().next(),
        Some("em0 tcp 10.0.0.2:1024 -> 192.0.2.1:50001 -> 198.51.100.7:443       ESTABLISHED:ESTABLISHED")
    );
    assert!(server.read_only.lock().unwrap().iter().all(|read_only| *read_only));
    assert_eq!(pfctl(&server, &["-ss", "-i", "em1"]).out, "");
    let killed = pfctl(&server, &["-k", "10.0.0.3"]);
    assert_eq!(killed.err, "killed 1 states from 1 sources and 0 destinations\n");
    let killed = pfctl(&server, &["-k", "10.0.0.2", "-k", "::1"]);
    assert_eq!(killed.err, "killed 0 states from 1 sources and 0 destinations\n");
    assert_eq!(pfctl(&server, &["-k", "10.0.0.0/33"]).code, 1);
    assert_eq!(pfctl(&server, &["-k", "a", "-k", "b", "-k", "c"]).code, 1);
    assert_eq!(pfctl(&server, &["-F", "states"]).err, "2 states cleared\n");
    assert!(!server.read_only.lock().unwrap().last().unwrap());
}

#[test]
fn rules_are_removed() {
    let server = Server::start(FakePf::default());
    let conf = file(&server, "pf.conf", CONF);
    assert_eq!(pfctl(&server, &["-f", &conf]).code, 0);
    assert_eq!(pfctl(&server, &["-F", "rules"]).err, "rules cleared\n");
    assert!(server.pf.lock().unwrap().active[&PF_RULESET_FILTER].is_empty());
    assert_eq!(server.pf.lock().unwrap().active[&PF_RULESET_NAT].len(), 1);
    let all = pfctl(&server, &["-Fa"]);
    assert_eq!(
        all.err,
        "pf: fingerprints cleared\nrules cleared\nnat cleared\n0 states cleared\n0 tables deleted.\n"
    );
    assert!(server.pf.lock().unwrap().active[&PF_RULESET_NAT].is_empty());
    // An option stays as it is when rules go.
    let established = Timeout::TcpEstablished as i32;
    assert_eq!(server.pf.lock().unwrap().timeouts[&established], 600);
}

#[test]
fn the_state_table_goes_into_a_file_and_back() {
    let server = with_states(5);
    let path = server.directory().join("states");
    let path = path.to_str().unwrap();
    assert_eq!(pfctl(&server, &["-S", path]).err, "stored 5 states\n");
    assert!(std::fs::read(path).unwrap().starts_with(b"\x89pfs"));
    let again = pfctl(&server, &["-L", path]);
    assert_eq!(
        (again.code, again.err.as_str()),
        (0, "loaded 0 states, refused 5: 5 already exist\n")
    );
    assert_eq!(pfctl(&server, &["-Fs", "-q", "-L", path]).code, 0);
    assert_eq!(server.pf.lock().unwrap().states.len(), 5);
    assert!(!server.pf.lock().unwrap().locked);
}

#[test]
fn a_bad_file_touches_nothing() {
    let server = with_states(2);
    let path = server.directory().join("states");
    let path = path.to_str().unwrap();
    assert_eq!(pfctl(&server, &["-S", path]).code, 0);
    let whole = std::fs::read(path).unwrap();
    std::fs::write(path, &whole[..whole.len() - 1]).unwrap();
    server.pf.lock().unwrap().calls.clear();
    for outcome in [
        pfctl(&server, &["-Fa", "-L", path]),
        pfs(&server, &["-R", path]),
        pfs(&server, &["-r", path]),
    ] {
        assert_eq!(outcome.code, 1);
        assert!(
            outcome.err.contains("truncated") && outcome.err.contains("nothing was loaded"),
            "{}",
            outcome.err
        );
    }
    assert!(server.pf.lock().unwrap().calls.is_empty());
    assert_eq!(server.pf.lock().unwrap().states.len(), 2);
}

#[test]
fn pfs_works_under_a_lock() {
    let server = with_states(3);
    let path = server.directory().join("states");
    let path = path.to_str().unwrap();
    let locked = || server.pf.lock().unwrap().locked;

    let refused = pfs(&server, &["-w", path]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.starts_with("pfs: the state table is not locked"),
        "{}",
        refused.err
    );
    assert!(!locked() && !Path::new(path).exists());

    assert_eq!(pfs(&server, &["-vl"]).err, "state table locked\n");
    assert!(locked());
    assert_eq!(pfs(&server, &["-vw", path]).err, "stored 3 states\n");
    assert!(std::fs::read(path).unwrap().starts_with(b"pf-states version=1"));
    server.pf.lock().unwrap().states.clear();
    assert_eq!(pfs(&server, &["-vr", path]).err, "loaded 3 states\n");
    assert!(locked(), "a lock of somebody else's stays");
    assert_eq!(pfs(&server, &["-u"]).code, 0);
    assert!(!locked());

    assert_eq!(pfs(&server, &["-bW", path]).code, 0);
    assert!(std::fs::read(path).unwrap().starts_with(b"\x89pfs"));
    server.pf.lock().unwrap().states.clear();
    assert_eq!(pfs(&server, &["-vR", path]).err, "loaded 3 states\n");
    assert!(!locked());
}

#[test]
fn an_unwritable_path_leaves_nothing_locked() {
    let server = with_states(3);
    for outcome in [
        pfctl(&server, &["-S", "/nonexistent/states"]),
        pfs(&server, &["-W", "/nonexistent/states"]),
    ] {
        assert_eq!(outcome.code, 1);
        assert!(outcome.err.contains("/nonexistent/states: "), "{}", outcome.err);
    }
    assert!(!server.pf.lock().unwrap().locked);
}

#[test]
fn a_device_that_is_none_is_explained() {
    let server = Server::start(FakePf::default());
    let call = |device: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_pfctl"))
            .args(["-p", device, "-sr"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(call("/nonexistent").contains("is pf loaded, or pf-router running?"));
    let plain = file(&server, "plain", "");
    assert!(call(&plain).contains("neither a character device nor a Unix socket"));
    let null = call("/dev/null");
    assert!(null.contains("DIOCGETRULES"), "{null}");
}

#[test]
fn a_wrong_command_line_exits_with_1() {
    let server = Server::start(FakePf::default());
    for arguments in [&["-x"][..], &["-s", "nonsense"], &["-ed"], &["-n"], &["extra"]] {
        assert_eq!(pfctl(&server, arguments).code, 1, "{arguments:?}");
    }
    assert_eq!(pfs(&server, &["-l", "-u"]).code, 1);
    assert_eq!(pfs(&server, &[]).code, 1);
    let help = pfctl(&server, &["--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("-S <FILE>"), "{}", help.out);
}

#[test]
fn queues_are_left_out_with_a_word() {
    let server = Server::start(FakePf::default());
    let word = "No ALTQ support in kernel\nALTQ related functions disabled\n";
    let both = "altq on em7 cbq bandwidth 2Mb queue { std }\nqueue std cbq(default)\npass queue std\n";
    for conf in [both, "pass queue (std, ack)\n"] {
        let path = file(&server, "pf.conf", conf);
        let outcome = pfctl(&server, &["-f", &path]);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, word), "{conf}");
        let quiet = pfctl(&server, &["-q", "-f", &path]);
        assert_eq!((quiet.code, quiet.err.as_str()), (0, ""), "{conf}");
        let tried = pfctl(&server, &["-nf", &path]);
        assert!(tried.err.contains("no packet is queued"), "{}", tried.err);
    }
    let shown = pfctl(&server, &["-s", "rules"]);
    assert_eq!(shown.out, "pass all flags S/SA keep state queue(std, ack)\n");
    let path = file(&server, "pf.conf", "pass\n");
    assert_eq!(pfctl(&server, &["-f", &path]).err, "");
}

#[test]
fn anchors_are_loaded_and_shown() {
    let server = Server::start(FakePf::default());
    let main = file(&server, "main.conf", "anchor spam\nanchor {\n pass in\n}\nblock\n");
    let spam = file(&server, "spam.conf", "block in quick\nanchor deep\n");
    let deep = file(&server, "deep.conf", "pass out\n");
    for arguments in [
        &["-f", &main][..],
        &["-a", "spam", "-f", &spam],
        &["-a", "spam/deep", "-f", &deep],
    ] {
        let loaded = pfctl(&server, arguments);
        assert_eq!((loaded.code, loaded.out.as_str()), (0, ""), "{}", loaded.err);
    }
    assert_eq!(
        pfctl(&server, &["-sr"]).out,
        "anchor \"spam\" all\nanchor all {\n  pass in all flags S/SA keep state\n}\nblock drop all\n"
    );
    assert_eq!(
        pfctl(&server, &["-a", "spam/deep", "-sr"]).out,
        "pass out all flags S/SA keep state\n"
    );
    assert_eq!(
        pfctl(&server, &["-a", "spam/*", "-sr"]).out,
        "block drop in quick all\nanchor \"deep\" all {\n  pass out all flags S/SA keep state\n}\n"
    );
    assert_eq!(pfctl(&server, &["-sA"]).out, "  spam\n");
    assert_eq!(pfctl(&server, &["-vsA"]).out, "  _1\n  spam\n  spam/deep\n");
    assert_eq!(pfctl(&server, &["-a", "nobody", "-sr"]).code, 1);
    assert_eq!(pfctl(&server, &["-a", "spam", "-Fr"]).err, "rules cleared\n");
    assert_eq!(pfctl(&server, &["-a", "spam", "-sr"]).out, "");
    assert_eq!(pfctl(&server, &["-a", "spam", "-Fs"]).code, 1);
}

#[test]
fn counters_debug_level_and_fingerprints() {
    let server = Server::start(FakePf::default());
    let conf = file(&server, "pf.conf", "set skip on lo0\npass\n");
    assert_eq!(pfctl(&server, &["-o", "none", "-rf", &conf]).code, 0);
    assert_eq!(pfctl(&server, &["-z"]).err, "pf: rule counters cleared\n");
    assert!(pfctl(&server, &["-vsr"]).out.contains("Evaluations: 0 "));
    assert_eq!(pfctl(&server, &["-x", "loud"]).err, "debug level set to 'loud'\n");
    assert_eq!(server.pf.lock().unwrap().debug, 3);
    assert_eq!(pfctl(&server, &["-x", "shrill"]).code, 1);
    assert_eq!(pfctl(&server, &["-vsI"]).out, "lo0 (skip) (not there)\n");
    let mut print = pf_abi::OsfpIoctl::default();
    print.os.class_nm = pf_abi::CName::new("Toaster").unwrap();
    server.pf.lock().unwrap().fingerprints.push(print);
    assert!(pfctl(&server, &["-so"]).out.ends_with("-------------------\nToaster\n"));
    assert_eq!(pfctl(&server, &["-Fo"]).err, "pf: fingerprints cleared\n");
    assert!(server.pf.lock().unwrap().fingerprints.is_empty());
}
