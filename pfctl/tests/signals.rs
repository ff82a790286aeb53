//! A signal under the lock ends the work, not the lock. In a program of its own: a signal reaches all of a process.

mod support;

use pfctl::device::Pf;
use pfctl::dump;
use pfctl::lock::{Held, LockError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use support::fake::{FakePf, state};

/// Set for the process that this test starts of itself, to be ended by a signal.
const CHILD: &str = "PFCTL_TEST_CHILD";

#[test]
fn a_signal_gives_the_lock_back() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let mut pf = FakePf {
            states: (0..3).map(state).collect(),
            ..FakePf::default()
        };
        let mut held = Held::take(Pf::new(&mut pf)).unwrap();
        signal_hook::low_level::raise(signal).unwrap();
        assert!(matches!(dump::take(&mut held), Err(LockError::Interrupted)));
        drop(held);
        assert!(!pf.locked);

        let held = Held::take(Pf::new(&mut pf)).unwrap();
        signal_hook::low_level::raise(signal).unwrap();
        assert!(matches!(held.release(), Err(LockError::Interrupted)));
        assert!(!pf.locked);
    }
    assert_a_signal_ends_the_process_again();
}

/// Once the lock is given back, a signal does what it always does.
fn assert_a_signal_ends_the_process_again() {
    use std::os::unix::process::ExitStatusExt as _;

    if std::env::var_os(CHILD).is_some() {
        signal_hook::low_level::raise(SIGTERM).unwrap();
        std::process::exit(0);
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.signal(), Some(SIGTERM));
}
