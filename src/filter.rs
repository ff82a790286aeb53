//! One packet's whole way.

use crate::kpi::{Direction, Mbuf, SoftNet};
use crate::{Pf, Verdict};

pub(crate) fn judge(_pf: &Pf, _level: &SoftNet, _direction: Direction, _ifindex: u16, packet: Mbuf) -> Verdict {
    Verdict::Pass(packet)
}
