//! Tables: in a configuration, on the command line, as they are printed.
#![cfg(target_os = "linux")]

mod support;

use pf_abi::*;
use pfctl::device::Pf;
use pfctl::load;
use std::path::Path;
use std::process::Command;
use support::fake::FakePf;
use support::server::Server;
use support::{compile, printed};

fn name(text: &str) -> TableName {
    TableName::new(text).unwrap()
}

/// What is in a table, a line an address.
fn shown(pf: &mut FakePf, table: &str) -> String {
    let addresses = Pf::new(pf).addresses(name(table)).unwrap();
    addresses.iter().map(pfctl::print::table::address_line).collect()
}

/// What a command did.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

fn pfctl(server: &Server, arguments: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_pfctl"))
        .env("TZ", "UTC")
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

/// Does what must succeed: what it said, and what it printed.
fn done(server: &Server, arguments: &[&str]) -> (String, String) {
    let outcome = pfctl(server, arguments);
    assert_eq!(outcome.code, 0, "{arguments:?}: {}", outcome.err);
    (outcome.err, outcome.out)
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

// The configuration.

#[test]
fn a_table_is_loaded_with_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let list = file(directory.path(), "list", "192.0.2.0/24 # a network\n!192.0.2.7\n");
    let config = compile(&format!(
        "table <bad> persist counters {{ 10/8, !10.1.0.0/16 www.example.org em1:network }} file \"{list}\"\n\
         table <empty> const {{ }}\n\
         table <kept> persist\n\
         block from <bad> to any\n"
    ))
    .unwrap();
    assert_eq!(
        config.echo,
        [
            format!(
                "table <bad> persist {{ 10.0.0.0/8 !10.1.0.0/16 198.51.100.7 2001:db8:1::7 10.0.0.0/8 }} file \"{list}\""
            ),
            "table <empty> const { }".to_owned(),
            "table <kept> persist".to_owned(),
        ]
    );
    let flags: Vec<_> = config.tables.iter().map(|table| table.flags).collect();
    assert_eq!(flags, [PFR_TFLAG_PERSIST, PFR_TFLAG_CONST, PFR_TFLAG_PERSIST]);
    assert!(config.tables[1].addresses.as_ref().unwrap().is_empty() && config.tables[2].addresses.is_none());
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &config).unwrap();
    assert_eq!(
        shown(&mut pf, "bad"),
        "   10.0.0.0/8\n  !10.1.0.0/16\n   192.0.2.0/24\n  !192.0.2.7\n   198.51.100.7\n   2001:db8:1::7\n"
    );
}

#[test]
fn rules_speak_of_tables() {
    assert_eq!(
        printed(
            "nat on em0 inet from <inside> to any -> 192.0.2.1\n\
             rdr on em0 inet proto tcp to port 80 -> <servers> port 8080\n\
             pass from <good> to { 10.0.0.1 <servers> }\n\
             block inet from ! <good>"
        ),
        [
            "nat on em0 inet from <inside> to any -> 192.0.2.1",
            "rdr on em0 inet proto tcp from any to any port = http -> <servers> port 8080 round-robin",
            "pass inet from <good> to 10.0.0.1 flags S/SA keep state",
            "pass from <good> to <servers> flags S/SA keep state",
            "block drop inet from ! <good> to any",
        ]
    );
}

#[test]
fn mistakes_of_a_table_are_told() {
    for (line, mistake) in [
        ("table bad persist", "expected"),
        ("table <> persist", "expected"),
        (
            "table <a-name-that-is-longer-than-any-that-a-table-may-have>",
            "too long",
        ),
        ("table <t> persistent", "persist"),
        ("nat on em0 from any to any -> <t>", "several families"),
        ("nat on em0 inet from any to any -> <t> random", "in turn"),
        (
            "binat on em0 inet from 10.0.0.1 to any -> <t>",
            "a table in a `binat` rule",
        ),
        ("pass in on em0 route-to (em1 <t>) from any to any", "both families"),
        ("table <t> { any }", "cannot stand in a table"),
        ("table <t> { <other> }", "cannot stand in a table"),
        ("table <t> { (em0) }", "cannot stand in a table"),
        ("table <t> { 10.0.0.1/33 }", "no mask"),
        ("table <t> { nobody.example.org }", "no address found"),
        ("table <t> file \"/nowhere/at/all\"", "cannot read"),
        (
            "pass from <a-name-that-is-longer-than-any-that-a-table-may-have>",
            "too long",
        ),
    ] {
        let report = compile(line).unwrap_err();
        assert!(report.contains(mistake), "{line}: {report}");
    }
    let directory = tempfile::tempdir().unwrap();
    let list = file(directory.path(), "list", "10.0.0.1\n10.0.0.0/77\n");
    assert!(
        compile(&format!("table <t> file \"{list}\""))
            .unwrap_err()
            .contains("/77")
    );
}

#[test]
fn a_load_that_fails_leaves_the_tables() {
    let mut pf = FakePf::default();
    load::load(
        &mut Pf::new(&mut pf),
        &compile("table <t> persist { 10.0.0.1 }").unwrap(),
    )
    .unwrap();
    let calls = pf.calls.len();
    let new = compile("table <t> persist { 10.0.0.2 }\ntable <u> persist\npass").unwrap();
    let mut number = 0;
    loop {
        number += 1;
        pf.fail_at = Some((calls + number, errno::ENOMEM));
        pf.calls.truncate(calls);
        // The rollback may fail as well; the next beginning makes up for it.
        if load::load(&mut Pf::new(&mut pf), &new).is_ok() {
            break;
        }
        pf.fail_at = None;
        assert_eq!(shown(&mut pf, "t"), "   10.0.0.1\n", "at call {number}");
    }
    assert!(number > 10);
    pf.fail_at = None;
    assert_eq!(shown(&mut pf, "t"), "   10.0.0.2\n");
}

#[test]
fn tables_stand_in_anchors() {
    let directory = tempfile::tempdir().unwrap();
    let inner = file(directory.path(), "inner", "table <bad> persist { 10.0.0.3 }\n");
    let other = file(
        directory.path(),
        "other",
        "table <bad> { 10.0.0.2 }\nblock from <bad>\n",
    );
    let config = compile(&format!(
        "table <bad> persist {{ 10.0.0.1 }}\n\
         anchor one\n\
         load anchor one from \"{other}\"\n\
         anchor two\n\
         load anchor two from \"{inner}\"\n"
    ))
    .unwrap();
    let anchors: Vec<_> = config.tables.iter().map(|table| table.anchor.as_str()).collect();
    assert_eq!(anchors, ["", "one", "two"]);
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &config).unwrap();
    let mut all = Pf::new(&mut pf);
    let tables = all.tables(true).unwrap();
    let tables: Vec<_> = tables.iter().map(|it| it.anchor.as_str().unwrap()).collect();
    // Here no rule of an anchor is loaded, and so the one that is not persistent is gone.
    assert_eq!(tables, ["", "two"]);
    all.set_anchor(AnchorPath::new("two").unwrap());
    let addresses = all.addresses(name("bad")).unwrap();
    assert_eq!(
        addresses
            .iter()
            .map(pfctl::print::table::address_line)
            .collect::<String>(),
        "   10.0.0.3\n"
    );
}

// The command line.

#[test]
fn addresses_are_added_shown_and_deleted() {
    let server = Server::start(FakePf::default());
    let list = file(
        server.directory(),
        "list",
        "10.0.0.0/24 # comment\n!10.0.0.9 2001:db8::1\n",
    );
    let (said, out) = done(&server, &["-t", "bad", "-T", "add", "192.0.2.1", "10.0.0.0/24"]);
    assert_eq!(
        (said.as_str(), out.as_str()),
        ("1 table created.\n2/2 addresses added.\n", "")
    );
    let (said, out) = done(&server, &["-v", "-t", "bad", "-T", "add", "-f", &list, "192.0.2.1"]);
    assert_eq!(said, "2/4 addresses added.\n");
    assert_eq!(out, "A !10.0.0.9\nA  2001:db8::1\n");
    let (_, out) = done(&server, &["-t", "bad", "-T", "show"]);
    assert_eq!(out, "   10.0.0.0/24\n  !10.0.0.9\n   192.0.2.1\n   2001:db8::1\n");
    let (said, out) = done(&server, &["-vv", "-t", "bad", "-T", "d", "192.0.2.1", "10.9.9.9"]);
    assert_eq!(
        (said.as_str(), out.as_str()),
        ("1/2 addresses deleted.\n", "D  192.0.2.1\n   10.9.9.9\n")
    );
    let (said, out) = done(&server, &["-v", "-t", "bad", "-T", "replace", "10.0.0.9", "10.1.1.1"]);
    assert_eq!(said, "1 addresses added.\n2 addresses deleted.\n1 addresses changed.\n");
    assert_eq!(out, "C  10.0.0.9\nA  10.1.1.1\nD  10.0.0.0/24\nD  2001:db8::1\n");
    let (said, _) = done(&server, &["-t", "bad", "-T", "replace", "10.0.0.9", "10.1.1.1"]);
    assert_eq!(said, "no changes.\n");
    let (said, _) = done(&server, &["-q", "-t", "bad", "-T", "flush"]);
    assert_eq!(said, "");
    assert_eq!(done(&server, &["-t", "bad", "-T", "show"]).1, "");
}

#[test]
fn hosts_are_looked_for() {
    let server = Server::start(FakePf::default());
    done(&server, &["-t", "bad", "-T", "add", "10.0.0.0/8", "!10.1.0.0/16"]);
    let (said, _) = done(&server, &["-t", "bad", "-T", "test", "10.2.0.1"]);
    assert_eq!(said, "1/1 addresses match.\n");
    let outcome = pfctl(
        &server,
        &["-v", "-t", "bad", "-T", "test", "10.2.0.1", "10.1.0.1", "192.0.2.1"],
    );
    assert_eq!((outcome.code, outcome.err.as_str()), (2, "1/3 addresses match.\n"));
    assert_eq!(outcome.out, "M  10.2.0.1\n");
    let outcome = pfctl(
        &server,
        &["-vv", "-t", "bad", "-T", "test", "10.2.0.1", "10.1.0.1", "192.0.2.1"],
    );
    assert_eq!(
        outcome.out,
        "M  10.2.0.1\t 10.0.0.0/8\n   10.1.0.1\t!10.1.0.0/16\n   192.0.2.1\t nomatch\n"
    );
    let outcome = pfctl(&server, &["-t", "bad", "-T", "test", "10.0.0.0/8"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.contains("a network cannot be looked for"),
        "{}",
        outcome.err
    );
}

#[test]
fn tables_are_shown_with_flags_and_counters() {
    let server = Server::start(FakePf::default());
    done(&server, &["-t", "bad", "-T", "add", "10.0.0.1"]);
    let conf = file(server.directory(), "conf", "table <const> const persist { 10.0.0.1 }\n");
    done(&server, &["-T", "load", "-f", &conf]);
    assert_eq!(done(&server, &["-s", "Tables"]).1, "bad\nconst\n");
    assert_eq!(done(&server, &["-vsT"]).1, "-pa---\tbad\ncpa---\tconst\n");
    let (_, out) = done(&server, &["-vvsT"]);
    let zero = |word: &str| format!("\t{word:<12} [ Packets: 0                  Bytes: 0                  ]\n");
    let counters: String = [
        "In/Block:",
        "In/Pass:",
        "In/XPass:",
        "Out/Block:",
        "Out/Pass:",
        "Out/XPass:",
    ]
    .map(zero)
    .concat();
    assert!(
        out.starts_with(&format!(
            "-pa---\tbad\n\tAddresses:   1\n\tCleared:     Tue Nov 14 22:13:20 2023\n\
             \tReferences:  [ Anchors: 0                  Rules: 0                  ]\n\
             \tEvaluations: [ NoMatch: 0                  Match: 0                  ]\n{counters}cpa---\tconst\n"
        )),
        "{out}"
    );
    let (_, out) = done(&server, &["-v", "-t", "bad", "-T", "show"]);
    let counters: String = ["In/Block:", "In/Pass:", "Out/Block:", "Out/Pass:"].map(zero).concat();
    assert_eq!(
        out,
        format!("   10.0.0.1\n\tCleared:     Tue Nov 14 22:13:20 2023\n{counters}")
    );
    let refused = pfctl(&server, &["-t", "const", "-T", "add", "10.0.0.2"]);
    assert!(refused.code == 1 && refused.err.contains("constant"), "{}", refused.err);
}

#[test]
fn tables_are_killed_zeroed_and_flushed() {
    let server = Server::start(FakePf::default());
    done(&server, &["-t", "a", "-T", "add", "10.0.0.1"]);
    done(&server, &["-t", "b", "-T", "add", "10.0.0.1"]);
    assert_eq!(done(&server, &["-t", "a", "-T", "zero"]).0, "1 table/stats cleared.\n");
    assert_eq!(done(&server, &["-t", "a", "-T", "kill"]).0, "1 table deleted.\n");
    let gone = pfctl(&server, &["-t", "a", "-T", "show"]);
    assert!(
        gone.code == 1 && gone.err.contains("there is no such table"),
        "{}",
        gone.err
    );
    assert_eq!(done(&server, &["-F", "Tables"]).0, "1 tables deleted.\n");
    assert_eq!(done(&server, &["-s", "Tables"]).1, "");
}

#[test]
fn addresses_expire() {
    let server = Server::start(FakePf::default());
    // The engine's clock stands in November 2023.
    done(&server, &["-t", "bad", "-T", "add", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(
        done(&server, &["-t", "bad", "-T", "expire", "4000000000"]).0,
        "0/0 addresses expired.\n"
    );
    let (said, out) = done(&server, &["-v", "-t", "bad", "-T", "expire", "60"]);
    assert_eq!(
        (said.as_str(), out.as_str()),
        ("2/2 addresses expired.\n", "D  10.0.0.1\nD  10.0.0.2\n")
    );
    assert_eq!(pfctl(&server, &["-t", "bad", "-T", "expire"]).code, 1);
    assert_eq!(pfctl(&server, &["-t", "bad", "-T", "expire", "soon"]).code, 1);
}

#[test]
fn only_tried_nothing_is_changed() {
    let server = Server::start(FakePf::default());
    let (said, _) = done(&server, &["-n", "-t", "bad", "-T", "add", "10.0.0.1"]);
    assert_eq!(said, "1 table created (dummy).\n");
    done(&server, &["-t", "bad", "-T", "add", "10.0.0.1"]);
    let (said, out) = done(&server, &["-nv", "-t", "bad", "-T", "add", "10.0.0.2"]);
    assert_eq!(
        (said.as_str(), out.as_str()),
        ("1/1 addresses added (dummy).\n", "A  10.0.0.2\n")
    );
    assert_eq!(done(&server, &["-t", "bad", "-T", "show"]).1, "   10.0.0.1\n");
    assert!(server.read_only.lock().unwrap().iter().any(|read_only| *read_only));
}

#[test]
fn a_table_of_an_anchor_is_another_one() {
    let server = Server::start(FakePf::default());
    done(&server, &["-t", "bad", "-T", "add", "10.0.0.1"]);
    done(&server, &["-a", "foo/bar", "-t", "bad", "-T", "add", "10.0.0.2"]);
    assert_eq!(done(&server, &["-t", "bad", "-T", "show"]).1, "   10.0.0.1\n");
    assert_eq!(
        done(&server, &["-a", "foo/bar", "-t", "bad", "-T", "show"]).1,
        "   10.0.0.2\n"
    );
    assert_eq!(done(&server, &["-a", "foo/bar", "-vsT"]).1, "-pa---\tbad\tfoo/bar\n");
    assert_eq!(done(&server, &["-vsT"]).1, "-pa--h\tbad\n");
    assert_eq!(
        done(&server, &["-a", "foo/bar", "-F", "Tables"]).0,
        "1 tables deleted.\n"
    );
    let gone = pfctl(&server, &["-a", "foo/bar", "-s", "Tables"]);
    assert!(
        gone.code == 1 && gone.err.contains("there is no such anchor"),
        "{}",
        gone.err
    );
}

#[test]
fn only_the_tables_of_a_file_are_loaded() {
    let server = Server::start(FakePf::default());
    let conf = file(
        server.directory(),
        "conf",
        "table <bad> persist { 10.0.0.1 }\nblock from <bad>\n",
    );
    done(&server, &["-f", &conf, "-T", "load"]);
    assert_eq!(done(&server, &["-t", "bad", "-T", "show"]).1, "   10.0.0.1\n");
    assert!(!server.pf.lock().unwrap().active.contains_key(&PF_RULESET_FILTER));
    assert_eq!(pfctl(&server, &["-T", "load"]).code, 1);
}

#[test]
fn a_word_that_means_nothing_is_named() {
    let server = Server::start(FakePf::default());
    for word in ["10.0.0.0/33", "10.0.0.0/x", "!"] {
        let refused = pfctl(&server, &["-t", "bad", "-T", "add", "--", word]);
        assert!(
            refused.code == 1 && refused.err.contains(word),
            "{word}: {}",
            refused.err
        );
    }
    assert_eq!(done(&server, &["-s", "Tables"]).1, "");
}
