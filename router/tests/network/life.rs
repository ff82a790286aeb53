//! How the router starts and ends, and what it leaves.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::Signal;

use crate::harness::*;

#[test]
fn a_signal_ends_it_and_leaves_nothing() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let namespace = Namespace::new();
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("pf.sock");
        let mut router = Router::start(&[
            format!("--interface=tun7,netns={},address=10.0.0.1/24", namespace.path()),
            format!("--socket={}", socket.display()),
            "--log=json".into(),
        ]);
        assert!(socket.exists());
        namespace.ip("link show dev tun7");
        router.signal(signal);
        let end = router.wait_for("pf-router ends");
        assert_eq!(end["signal"], signal.as_str());
        assert_eq!(router.wait().code(), Some(0));
        assert!(!socket.exists());
        let links = namespace.run(|| fs::read_to_string("/proc/net/dev")).unwrap();
        assert!(!links.contains("tun7"), "{links}");
    }
}

#[test]
fn a_device_that_was_there_outlives_it() {
    let network = Network::new().with_way_back();
    let mut router = network.router();
    assert!(network.client.reaches(SERVER_V4));
    router.signal(Signal::SIGKILL);
    assert_eq!(router.wait().code(), None);
    network.client.ip("link show dev lan0");
    // The socket that it has left is in nobody's way.
    assert!(network.socket().exists());
    let _router = network.router();
    assert!(network.client.reaches(SERVER_V4));
}

#[test]
fn counters_are_logged_on_demand_and_at_the_end() {
    let network = Network::new().with_way_back();
    let mut router = network.router();
    for _ in 0..3 {
        assert!(network.client.reaches(SERVER_V4));
    }
    assert!(network.client.reaches(LAN_V4));
    network.client.ping(SERVER_V4, 1);
    for signal in [Signal::SIGUSR1, Signal::SIGUSR1, Signal::SIGTERM] {
        router.signal(signal);
        let lan = router.wait_for("packets");
        assert_eq!(lan["interface"], "lan0");
        assert_eq!(lan["forwarded"], 3);
        assert_eq!(lan["delivered"], 1);
        assert_eq!(lan["expired"], 1);
        assert_eq!(lan["icmp_errors"], 1);
        let wan = router.wait_for("packets");
        assert_eq!(wan["interface"], "wan0");
        assert_eq!(wan["forwarded"], 3);
        if signal == Signal::SIGTERM {
            // What is sent is counted when it has been: its receiver may know of it earlier.
            assert_eq!((&lan["sent"], &wan["sent"]), (&5.into(), &3.into()));
        }
    }
    assert_eq!(router.wait().code(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_does_not_end_it() {
    let network = Network::new().with_way_back();
    let router = network.router();
    assert_eq!(router.end_unread().code(), Some(0));
    assert!(!network.socket().exists());
}

#[test]
fn an_interface_that_goes_away_does_not_take_the_others_along() {
    let network = Network::new();
    let mut router = network.router();
    network.client.ip("link delete dev lan0");
    assert_eq!(router.wait_for("the interface is gone")["interface"], "lan0");
    assert!(network.server.reaches(WAN_V4));
    router.signal(Signal::SIGTERM);
    assert_eq!(router.wait().code(), Some(0));
}

/// The last line of log of a router that does not start.
fn failure(arguments: &[String]) -> String {
    let mut router = Router::spawn(arguments);
    assert_eq!(router.wait().code(), Some(1), "{:#?}", router.log());
    let line = router.log().last().expect("it says why");
    line["fields"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn what_is_in_use_is_left_alone() {
    let network = Network::new();
    let _router = network.router();
    let error = failure(&network.arguments());
    assert!(error.contains("another process has it open"), "{error}");

    let elsewhere = Namespace::new();
    let socket = network.socket();
    let arguments = |path: &std::path::Path| {
        [
            format!("--interface=tun0,netns={}", elsewhere.path()),
            format!("--socket={}", path.display()),
            "--log=json".into(),
        ]
    };
    let before = fs::metadata(&socket).unwrap();
    let error = failure(&arguments(&socket));
    assert!(error.contains("somebody listens there already"), "{error}");
    assert_eq!(fs::metadata(&socket).unwrap().ino(), before.ino());

    let file = socket.with_file_name("file");
    fs::write(&file, "precious").unwrap();
    let error = failure(&arguments(&file));
    assert!(error.contains("which is no socket"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn what_cannot_be_is_said_in_plain_words() {
    let namespace = Namespace::new();
    let dir = tempfile::tempdir().unwrap();
    let start = |interface: &str| {
        failure(&[
            format!("--interface={interface}"),
            format!("--socket={}", dir.path().join("pf.sock").display()),
            "--log=json".into(),
        ])
    };
    let path = namespace.path();
    for (interface, message) in [
        (
            "tun0,netns=no-such".to_owned(),
            "there is no network namespace /run/netns/no-such",
        ),
        (format!("lo,netns={path}"), "is not a TUN device"),
        (
            format!("tun0,netns={path},mtu=1279,address=fd00::1/64"),
            "below the 1280 bytes",
        ),
    ] {
        let error = start(&interface);
        assert!(error.contains(message), "{error}");
    }
}
