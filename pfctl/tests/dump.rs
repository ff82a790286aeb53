//! The state table into a file and back: nothing stays locked, nothing half of a file is taken, rules are found again.

mod support;

use pf_abi::*;
use pfctl::device::{Errno, Pf};
use pfctl::dump::{self, Dump, FileError, Format, FormatError, Summary};
use pfctl::load;
use pfctl::lock::{Held, LockError};
use support::compile;
use support::fake::{FakePf, state};

const CONF: &str = "\
nat on em0 from 10/8 -> 192.0.2.1
nat on em0 from 10.1/16 -> 192.0.2.9
rdr on em0 proto tcp to port 80 -> 10.0.0.2
block
pass out label \"a\"
pass out label \"b\"
pass out label \"b\"
pass in label \"c\"
";

/// A pf with rules and some states that belong to them.
fn with_states(count: u32) -> FakePf {
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(CONF).unwrap()).unwrap();
    for number in 0..count {
        let mut state = state(number);
        state.rule = 1 + number % 3;
        state.nat_rule = number % 2;
        pf.states.push(state);
    }
    pf.calls.clear();
    pf
}

fn take(pf: &mut FakePf) -> Result<Dump, LockError> {
    let mut held = Held::take(Pf::new(pf))?;
    let dump = dump::take(&mut held)?;
    held.release()?;
    Ok(dump)
}

fn put(pf: &mut FakePf, dump: &Dump) -> Result<Summary, LockError> {
    let mut held = Held::take(Pf::new(pf))?;
    let summary = dump::restore(&mut held, dump)?;
    held.release()?;
    Ok(summary)
}

#[test]
fn both_formats_give_back_what_went_in() {
    for count in [0, 1, 5] {
        let dump = take(&mut with_states(count)).unwrap();
        assert_eq!(dump.states.len(), count as usize);
        for format in [Format::Binary, Format::Text] {
            assert_eq!(Dump::decode(&dump.encode(format)), Ok(dump.clone()));
        }
    }
}

#[test]
fn states_are_only_read_under_the_lock() {
    let mut pf = with_states(3);
    pf.before_call = Some(|pf| {
        let locking = [
            DIOCGETLCK,
            DIOCBLOCK,
            DIOCBGETSTATES,
            DIOCGETRULES,
            DIOCGETRULE,
            DIOCGETADDRS,
            DIOCGETADDR,
        ];
        assert!(pf.calls.iter().all(|call| locking.contains(call)));
        assert!(pf.calls.len() < 2 || pf.locked, "{:x?}", pf.calls);
    });
    take(&mut pf).unwrap();
    assert!(!pf.locked);
}

#[test]
fn the_lock_is_given_back_whatever_fails() {
    let dump = take(&mut with_states(3)).unwrap();
    let work: [&dyn Fn(&mut FakePf) -> bool; 2] = [&|pf| take(pf).is_ok(), &|pf| {
        pf.states.clear();
        put(pf, &dump).is_ok()
    }];
    for work in work {
        let mut whole = with_states(3);
        assert!(work(&mut whole));
        let steps = whole.calls.len();
        for step in 0..steps {
            for number in [errno::EBUSY, errno::ENODEV, errno::EFAULT] {
                let mut pf = with_states(3);
                pf.fail_at = Some((step, number));
                let done = work(&mut pf);
                assert!(!pf.locked, "step {step}, error {number}");
                let recovers = number != errno::EFAULT;
                assert!(!done || recovers, "step {step}, error {number}");
            }
        }
    }
}

#[test]
fn a_lock_that_somebody_else_holds_stays() {
    let mut pf = with_states(3);
    pf.locked = true;
    let dump = take(&mut pf).unwrap();
    assert!(pf.locked);
    pf.states.clear();
    put(&mut pf, &dump).unwrap();
    assert!(pf.locked);
    assert!(!pf.calls.contains(&DIOCSETLCK));
}

#[test]
fn who_relies_on_a_lock_is_told_that_there_is_none() {
    let mut pf = with_states(1);
    assert!(matches!(Held::expect(Pf::new(&mut pf)), Err(LockError::NotLocked)));
    pf.locked = true;
    let mut held = Held::expect(Pf::new(&mut pf)).unwrap();
    dump::take(&mut held).unwrap();
    held.release().unwrap();
    assert!(pf.locked);
    assert!(!pf.calls.contains(&DIOCSETLCK));
}

#[test]
fn an_old_pf_cannot_say_whether_it_is_locked() {
    let mut pf = with_states(2);
    pf.unknown = vec![DIOCGETLCK, DIOCBLOCK, DIOCBGETSTATES, DIOCBADDSTATES];
    let dump = take(&mut pf).unwrap();
    assert!(!pf.locked);
    // It fails as a whole, and is never asked about one state: there that ioctl brings the kernel down.
    assert!(put(&mut pf, &dump).is_err());
    assert!(!pf.locked);
    assert!(!pf.calls.contains(&DIOCADDSTATE));
    pf.states.clear();
    assert_eq!(put(&mut pf, &dump).unwrap().loaded, 2);
}

#[test]
fn a_growing_table_is_read_whole() {
    let mut pf = with_states(100);
    pf.growing = 40;
    pf.unknown = vec![DIOCBGETSTATES];
    let dump = take(&mut pf).unwrap();
    assert_eq!(dump.states.len(), pf.states.len());
}

#[test]
fn a_state_finds_its_rule_under_another_number() {
    let dump = take(&mut with_states(6)).unwrap();
    let mut pf = FakePf::default();
    // The same rules, some gone, some new, in another order.
    let conf = "\
        nat on em0 from 10.1/16 -> 192.0.2.9\n\
        nat on em0 from 10/8 -> 192.0.2.1\n\
        pass in label \"new\"\n\
        pass out label \"b\"\n\
        block\n\
        pass out label \"b\"\n";
    load::load(&mut Pf::new(&mut pf), &compile(conf).unwrap()).unwrap();
    let summary = put(&mut pf, &dump).unwrap();
    assert_eq!(summary.loaded, 6);
    assert_eq!(summary.without_rule, 2);
    let rules: Vec<u32> = pf.states.iter().map(|state| state.rule).collect();
    // Rule 1, "a", is gone; rules 2 and 3, which say the same, are 1 and 3 now.
    assert_eq!(rules, [NO_RULE, 1, 3, NO_RULE, 1, 3]);
    let nat: Vec<u32> = pf.states.iter().map(|state| state.nat_rule).collect();
    assert_eq!(nat, [1, 0, 1, 0, 1, 0]);
}

#[test]
fn a_binat_rule_is_looked_for_in_its_own_list() {
    let conf = "nat on em0 from 10/8 -> 192.0.2.1\n\
        binat on em0 from 10.0.0.1 to any -> 192.0.2.3\n\
        binat on em0 from 10.0.0.2 to any -> 192.0.2.4\n";
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(conf).unwrap()).unwrap();
    for nat_rule in [1 | BINAT_RULE, 0, 3 << 20 | BINAT_RULE] {
        let number = pf.states.len() as u32;
        pf.states.push(SyncState {
            nat_rule,
            ..state(number)
        });
    }
    let dump = take(&mut pf).unwrap();
    for format in [Format::Binary, Format::Text] {
        assert_eq!(Dump::decode(&dump.encode(format)), Ok(dump.clone()));
    }
    let conf = "nat on em0 from 10.1/16 -> 192.0.2.9\n\
        nat on em0 from 10/8 -> 192.0.2.1\n\
        binat on em0 from 10.0.0.2 to any -> 192.0.2.4\n";
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(conf).unwrap()).unwrap();
    put(&mut pf, &dump).unwrap();
    let nat: Vec<u32> = pf.states.iter().map(|state| state.nat_rule).collect();
    assert_eq!(
        nat,
        [BINAT_RULE, 1, 3 << 20 | BINAT_RULE],
        "within an anchor the number has to do"
    );
}

#[test]
fn a_translation_is_looked_for_by_direction() {
    let mut pf = with_states(0);
    let mut inbound = state(1);
    inbound.direction = PF_IN;
    inbound.rule = 4;
    inbound.nat_rule = 0;
    pf.states.push(inbound);
    let dump = take(&mut pf).unwrap();
    assert_eq!(
        dump.rules.iter().filter(|rule| rule.kind == RulesetKind::Rdr).count(),
        1
    );
    assert_eq!(
        dump.rules.iter().filter(|rule| rule.kind == RulesetKind::Nat).count(),
        0
    );
    pf.states.clear();
    put(&mut pf, &dump).unwrap();
    assert_eq!(pf.states[0].nat_rule, 0);
}

#[test]
fn a_state_of_an_anchor_comes_back_if_the_anchor_is_called_by_the_same_rule() {
    let mut pf = with_states(1);
    (pf.states[0].anchor, pf.states[0].rule) = (0, 7);
    let dump = take(&mut pf).unwrap();
    pf.states.clear();
    let summary = put(&mut pf, &dump).unwrap();
    assert_eq!((summary.loaded, summary.without_rule), (1, 0));
    assert_eq!((pf.states[0].anchor, pf.states[0].rule), (0, 7));

    pf.states.clear();
    pf.active.clear();
    let summary = put(&mut pf, &dump).unwrap();
    assert_eq!((summary.loaded, summary.without_rule), (1, 1));
    assert_eq!((pf.states[0].rule, pf.states[0].anchor), (NO_RULE, NO_RULE));
}

#[test]
fn a_refused_state_keeps_no_other_out() {
    let mut dump = take(&mut with_states(10)).unwrap();
    dump.states[0].af = 77;
    dump.states[9].af = 0;
    let mut pf = with_states(0);
    pf.states = vec![state(3), state(4)];
    let summary = put(&mut pf, &dump).unwrap();
    assert_eq!(summary.loaded, 6);
    assert_eq!(summary.refused[&Errno(errno::EEXIST)], 2);
    assert_eq!(summary.refused[&Errno(errno::EINVAL)], 2);
    assert_eq!(pf.states.len(), 8);
    assert_eq!(
        summary.to_string(),
        "loaded 6 states, refused 4: 2 already exist, 2 invalid"
    );
}

#[test]
fn a_full_table_takes_what_it_can() {
    let dump = take(&mut with_states(10)).unwrap();
    let mut pf = with_states(0);
    pf.limit = 4;
    let summary = put(&mut pf, &dump).unwrap();
    assert_eq!(
        summary.to_string(),
        "loaded 4 states, refused 6: 6 beyond the limit of states"
    );
}

#[test]
fn many_states_go_in_batches() {
    let dump = Dump {
        states: (0..10_000).map(state).collect(),
        ..Dump::default()
    };
    let mut pf = FakePf {
        // The look for what exists already is quadratic here, so the table stays small.
        limit: 10,
        ..FakePf::default()
    };
    let summary = put(&mut pf, &dump).unwrap();
    assert_eq!(summary.loaded + summary.refused_count(), 10_000);
    assert_eq!(summary.loaded, 10);
}

#[test]
fn every_truncation_is_refused() {
    let dump = take(&mut with_states(2)).unwrap();
    for format in [Format::Binary, Format::Text] {
        let bytes = dump.encode(format);
        for length in 0..bytes.len() {
            let error = Dump::decode(&bytes[..length]).unwrap_err();
            let expected = match length {
                0 => matches!(error, FormatError::Foreign),
                _ => matches!(error, FormatError::Truncated { .. }),
            };
            // A line of text that is cut may look like another mistake.
            assert!(expected || format == Format::Text, "{format:?} {length}: {error:?}");
        }
        let mut longer = bytes.clone();
        longer.push(b'\n');
        assert!(Dump::decode(&longer).is_err());
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let dump = take(&mut with_states(2)).unwrap();
    for format in [Format::Binary, Format::Text] {
        let bytes = dump.encode(format);
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << bit;
                assert!(Dump::decode(&flipped).is_err(), "{format:?} byte {index} bit {bit}");
            }
        }
    }
}

#[test]
fn a_file_says_what_is_wrong_with_it() {
    let dump = take(&mut with_states(1)).unwrap();
    let binary = dump.encode(Format::Binary);
    assert_eq!(Dump::decode(b"#!/bin/sh\n"), Err(FormatError::Foreign));
    assert_eq!(Dump::decode(b""), Err(FormatError::Foreign));

    let mut newer = binary.clone();
    newer[8] = 2;
    assert_eq!(Dump::decode(&newer), Err(FormatError::Version(2)));
    let newer = String::from_utf8(dump.encode(Format::Text))
        .unwrap()
        .replace("version=1", "version=2");
    assert_eq!(Dump::decode(newer.as_bytes()), Err(FormatError::Version(2)));

    // Sizes that would overflow or take all memory are looked at before they are believed.
    let mut huge = binary.clone();
    huge[36..40].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Dump::decode(&huge), Err(FormatError::Truncated { .. })));

    let mut corrupt = binary.clone();
    corrupt[60] ^= 1;
    assert_eq!(
        Dump::decode(&corrupt),
        Err(FormatError::Corrupt("the checksum does not fit".into()))
    );
}

#[test]
fn the_binary_format_is_the_one_that_is_documented() {
    let dump = take(&mut with_states(2)).unwrap();
    let bytes = dump.encode(Format::Binary);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(&bytes[..8], b"\x89pfs\r\n\x1a\0");
    assert_eq!(number(8), 1);
    assert_eq!(number(12), 48);
    assert_eq!(bytes[16..24], dump.created.to_le_bytes());
    assert_eq!((number(24), number(28)), (32, dump.rules.len() as u32));
    assert_eq!((number(32), number(36)), (240, 2));
    let first = &dump.rules[0];
    assert_eq!((number(48), number(52), number(56)), (1, first.number, first.ordinal));
    assert_eq!(bytes[64..80], first.identity.0);
    let states = 48 + 32 * dump.rules.len();
    assert_eq!(&bytes[states + 8..states + 11], b"em0");
    assert_eq!(bytes.len(), states + 2 * 240 + 4);
    let sum = crc32fast::hash(&bytes[..bytes.len() - 4]);
    assert_eq!(number(bytes.len() - 4), sum);
}

#[test]
fn a_file_is_whole_or_the_old_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("states");
    let dump = take(&mut with_states(3)).unwrap();
    std::fs::write(&path, "old").unwrap();
    dump::save(&dump, &path, Format::Binary).unwrap();
    assert_eq!(dump::open(&path).unwrap(), dump);
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left");

    let missing = directory.path().join("no/such/directory");
    assert!(matches!(
        dump::save(&dump, &missing, Format::Text),
        Err(FileError::Io { .. })
    ));
    std::fs::write(&path, "old").unwrap();
    let error = dump::open(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("not a dump of pf's states; nothing was loaded"),
        "{error}"
    );
}

#[test]
fn states_come_in_chunks_where_pf_knows_how() {
    let mut pf = with_states(100);
    let dump = take(&mut pf).unwrap();
    assert_eq!(dump.states, pf.states);
    assert!(!pf.calls.contains(&DIOCGETSTATES) && !pf.calls.contains(&DIOCSETLCK));
    let chunks = pf.calls.iter().filter(|call| **call == DIOCBGETSTATES).count();
    assert_eq!(chunks, 34);
    // Each refused state costs one more call, and that tells why.
    pf.states.truncate(10);
    pf.calls.clear();
    let summary = put(&mut pf, &dump).unwrap();
    assert_eq!((summary.loaded, summary.refused_count()), (90, 10));
    assert!(!pf.calls.contains(&DIOCADDSTATES) && !pf.calls.contains(&DIOCADDSTATE));
    assert_eq!(pf.calls.iter().filter(|call| **call == DIOCBADDSTATES).count(), 11);
}

#[test]
fn a_lock_that_went_in_the_middle_is_told() {
    let mut pf = with_states(3);
    let mut held = Held::take(Pf::new(&mut pf)).unwrap();
    dump::take(&mut held).unwrap();
    held.pf().unwrap().set_lock(false).unwrap();
    assert!(matches!(held.release(), Err(LockError::Lost)));
}
