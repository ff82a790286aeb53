//! Loading a configuration: whole or not at all, whatever fails.

mod support;

use pf_abi::{
    DIOCSETDEBUG, DIOCSETIFFLAG, DIOCSETSTATUSIF, DIOCSETTIMEOUT, DIOCXCOMMIT, DIOCXROLLBACK, IfName, Limit,
    PF_RULESET_FILTER, PF_RULESET_NAT, PF_RULESET_RDR, RulesetKind, Timeout, errno,
};
use pfctl::device::{Device, Pf};
use pfctl::{load, ruleset};
use support::compile;
use support::fake::FakePf;

const CONF: &str = "\
set limit states 500
set timeout tcp.established 600
set skip on lo0
set loginterface em1
nat on em0 from 10/8 -> 192.0.2.1
rdr on em0 proto tcp to port 80 -> 10.0.0.2
block
pass proto tcp to port { 22 80 }
";

const OLD: &str = "set timeout tcp.established 77\nset skip on em1\nset debug misc\npass\n";

/// A pf with the old configuration in it, its calls forgotten.
fn loaded() -> FakePf {
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(OLD).unwrap()).unwrap();
    pf.calls.clear();
    pf
}

/// What a configuration is made of, to be compared.
fn contents(pf: &FakePf) -> String {
    let rules: Vec<_> = pf
        .active
        .iter()
        .map(|(kind, rules)| {
            (
                kind,
                rules
                    .iter()
                    .map(|(rule, pool)| (rule.action, rule.dst.port, pool.len()))
                    .collect::<Vec<_>>(),
            )
        })
        .filter(|(_, rules)| !rules.is_empty())
        .collect();
    format!(
        "{rules:?} {:?} {:?} {} {:?} {:?}",
        pf.timeouts, pf.limits, pf.debug, pf.log_interface, pf.skipped
    )
}

#[test]
fn a_configuration_arrives_as_it_is() {
    let mut pf = loaded();
    load::load(&mut Pf::new(&mut pf), &compile(CONF).unwrap()).unwrap();
    assert_eq!(pf.active[&PF_RULESET_NAT].len(), 1);
    assert_eq!(pf.active[&PF_RULESET_NAT][0].1.len(), 1);
    assert_eq!(pf.active[&PF_RULESET_RDR].len(), 1);
    assert_eq!(pf.active[&PF_RULESET_FILTER].len(), 3);
    assert!(pf.inactive.is_empty());
    assert_eq!(pf.limits[&Limit::States.into()], 500);
    assert_eq!(pf.timeouts[&(Timeout::TcpEstablished as i32)], 600);
    assert_eq!(pf.timeouts[&(Timeout::AdaptiveStart as i32)], 300);
    assert_eq!(pf.debug, 1, "what is not set gets its default");
    assert_eq!(pf.skipped, [IfName::new("lo0").unwrap()]);
    assert_eq!(pf.log_interface.as_str(), Some("em1"));
}

#[test]
fn a_failure_anywhere_leaves_what_was_there() {
    let config = compile(CONF).unwrap();
    let before = contents(&loaded());
    let mut whole = loaded();
    load::load(&mut Pf::new(&mut whole), &config).unwrap();
    let steps = whole.calls.len();
    assert!(steps > 40);
    for step in 0..steps {
        let mut pf = loaded();
        pf.fail_at = Some((step, errno::ENOMEM));
        let error = load::load(&mut Pf::new(&mut pf), &config).unwrap_err();
        assert_eq!(error.errno(), Some(errno::ENOMEM), "step {step}");
        assert_eq!(contents(&pf), before, "step {step}: {error}");
        assert!(pf.inactive.is_empty(), "step {step}");
        if step > 0 {
            assert_eq!(pf.calls.last(), Some(&DIOCXROLLBACK), "step {step}");
        }
    }
}

#[test]
fn a_refused_rule_is_named_by_its_line() {
    let config = compile("block\npass in\npass out\n").unwrap();
    let mut pf = FakePf {
        // Begin; then for each rule the ticket of its pool, and the rule.
        fail_at: Some((4, errno::EINVAL)),
        ..FakePf::default()
    };
    let error = load::load(&mut Pf::new(&mut pf), &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pf.conf:2: adding a rule: DIOCADDRULE: invalid argument"
    );

    let mut pf = FakePf {
        fail_at: Some((4, errno::EOPNOTSUPP)),
        ..FakePf::default()
    };
    let error = load::load(&mut Pf::new(&mut pf), &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pf.conf:2: adding a rule: DIOCADDRULE: operation not supported \
         (the rule asks for something that this pf does not have)"
    );
}

#[test]
fn an_option_that_pf_does_not_have_matters_only_if_it_is_set() {
    let unknown = vec![DIOCSETDEBUG, DIOCSETSTATUSIF, DIOCSETIFFLAG, pf_abi::DIOCCLRIFFLAG];
    let with = |conf: &str| {
        let mut pf = FakePf {
            unknown: unknown.clone(),
            ..FakePf::default()
        };
        load::load(&mut Pf::new(&mut pf), &compile(conf).unwrap()).map_err(|error| error.to_string())
    };
    assert_eq!(with("pass"), Ok(()));
    for (conf, name) in [
        ("set debug loud", "DIOCSETDEBUG"),
        ("set loginterface em0", "DIOCSETSTATUSIF"),
        ("set skip on lo0", "DIOCCLRIFFLAG"),
    ] {
        let error = with(conf).unwrap_err();
        assert!(
            error.contains(name) && error.contains("this pf does not have it"),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_put_back_is_said() {
    struct Stuck(FakePf, bool);
    impl Device for Stuck {
        fn ioctl(
            &mut self,
            cmd: u64,
            argument: &mut [u8],
            buffer: Option<pfctl::device::Buffer<'_>>,
        ) -> Result<(), pfctl::device::Failure> {
            self.1 |= cmd == DIOCXCOMMIT;
            if self.1 && (cmd == DIOCXCOMMIT || cmd == DIOCSETTIMEOUT) {
                return Err(pfctl::device::Failure::Refused(pfctl::device::Errno(errno::EBUSY)));
            }
            self.0.ioctl(cmd, argument, buffer)
        }
    }
    let mut device = Stuck(FakePf::default(), false);
    let error = load::load(&mut Pf::new(&mut device), &compile("pass").unwrap()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("making the new rules the active ones"), "{text}");
    assert!(text.contains("and then, setting timeout"), "{text}");
}

#[test]
fn rules_come_back_with_their_pools() {
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(CONF).unwrap()).unwrap();
    let nat = ruleset::read(&mut Pf::new(&mut pf), RulesetKind::Nat).unwrap();
    assert_eq!(nat.len(), 1);
    assert_eq!(nat[0].pool.len(), 1);
    assert_eq!(nat[0].rule.evaluations, 17);
    let filter = ruleset::read(&mut Pf::new(&mut pf), RulesetKind::Filter).unwrap();
    assert_eq!(filter.len(), 3);
}

#[test]
fn rules_that_change_while_they_are_read_are_read_again() {
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(CONF).unwrap()).unwrap();
    pf.fail_at = Some((pf.calls.len() + 2, errno::EBUSY));
    assert_eq!(
        ruleset::read(&mut Pf::new(&mut pf), RulesetKind::Filter).unwrap().len(),
        3
    );
}

#[test]
fn lists_can_be_emptied() {
    let mut pf = FakePf::default();
    load::load(&mut Pf::new(&mut pf), &compile(CONF).unwrap()).unwrap();
    load::clear(&mut Pf::new(&mut pf), &[RulesetKind::Scrub, RulesetKind::Filter]).unwrap();
    assert!(pf.active[&PF_RULESET_FILTER].is_empty());
    assert_eq!(pf.active[&PF_RULESET_NAT].len(), 1);
}
