//! Whose socket a packet comes from or goes to: `user`, `group`.
//!
//! # Locking
//! None: immutable.

use pf_abi as abi;

use crate::kpi::Errno;

/// The number of a user or a group that there is not: of a packet without a socket, `unknown` in pf.conf(5).
const UNKNOWN: u32 = u32::MAX;

/// How two numbers bound a user or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerMatch {
    op: abi::PortOp,
    low: u32,
    high: u32,
}

impl OwnerMatch {
    /// Takes the ABI's. EINVAL for an operator that there is not.
    pub fn new(from: &abi::RuleId) -> Result<Self, Errno> {
        let op = abi::PortOp::try_from(from.op).map_err(|_| Errno::Einval)?;
        let [low, high] = from.id;
        Ok(OwnerMatch { op, low, high })
    }

    /// Whether it asks nothing.
    pub fn is_any(&self) -> bool {
        self.op == abi::PortOp::None
    }

    /// Whether the owner is within. One that is not known is equal to `unknown`, and neither less nor greater than any.
    pub fn matches(&self, owner: Option<u32>) -> bool {
        use abi::PortOp::*;
        let id = owner.unwrap_or(UNKNOWN);
        if owner.is_none() && !matches!(self.op, None | Equal | NotEqual) {
            return false;
        }
        match self.op {
            None => true,
            InsideRange => self.low < id && id < self.high,
            Equal => id == self.low,
            NotEqual => id != self.low,
            Less => id < self.low,
            LessOrEqual => id <= self.low,
            Greater => id > self.low,
            GreaterOrEqual => id >= self.low,
            OutsideRange => id < self.low || id > self.high,
            Range => self.low <= id && id <= self.high,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_owner_is_only_equal_to_unknown() {
        let matches = |op: abi::PortOp, low, high, owner| {
            let from = abi::RuleId {
                id: [low, high],
                op: op.into(),
                ..abi::RuleId::default()
            };
            OwnerMatch::new(&from).unwrap().matches(owner)
        };
        use abi::PortOp::*;
        assert!(matches(None, 0, 0, Option::None) && matches(None, 0, 0, Some(7)));
        assert!(matches(Equal, 7, 0, Some(7)) && !matches(Equal, 7, 0, Some(8)));
        assert!(matches(Equal, UNKNOWN, 0, Option::None) && !matches(Equal, UNKNOWN, 0, Some(0)));
        assert!(matches(NotEqual, UNKNOWN, 0, Some(0)) && !matches(NotEqual, UNKNOWN, 0, Option::None));
        for op in [
            Less,
            LessOrEqual,
            Greater,
            GreaterOrEqual,
            InsideRange,
            OutsideRange,
            Range,
        ] {
            assert!(!matches(op, 0, UNKNOWN, Option::None), "{op:?}");
        }
        assert!(matches(Greater, 999, 0, Some(1000)) && !matches(Greater, 999, 0, Some(999)));
        assert!(matches(InsideRange, 1, 3, Some(2)) && !matches(InsideRange, 1, 3, Some(3)));
        assert!(matches(OutsideRange, 1, 3, Some(0)) && matches(Range, 1, 3, Some(3)));
    }
}
