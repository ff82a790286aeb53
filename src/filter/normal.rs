//! Normalisation in a packet's way: before it is judged, and, where it was put together of fragments that no router makes, after.
//!
//! # Locking
//! As for all of a packet's way. Fragments of pf's own go out, or come in again, after the passive section.

use pf_abi::{Reason, Timeout};

use super::{Filter, Outcome};
use crate::kpi::{Direction, Mbuf, SpinLock};
use crate::mem::KBox;
use crate::norm::timestamps::Stamped;
use crate::norm::{Normal, Scene};
use crate::packet::{Cut, Packet};
use crate::state::{Extra, ScrubPeer};
use crate::{Pf, Verdict};

/// What became of a packet before it was judged.
pub(super) enum Fate {
    /// It is judged.
    Goes(Normal),
    /// There is nothing to judge.
    Decided(Outcome),
}

impl Filter<'_> {
    /// Normalises a packet, and logs it if it is dropped and the scrub rule about it says so.
    #[inline(never)]
    pub(super) fn normalise(&self, packet: Packet) -> Result<Fate, Reason> {
        let is_cut = packet.fragment.is_some() && packet.is_refragmented();
        if is_cut && packet.direction == Direction::In {
            // It has been judged as part of a whole, and comes in once more.
            return Ok(Fate::Decided(Outcome::Pass(packet.into_mbuf(), None)));
        }
        let config = self.pf.config.read(self.section);
        let scene = Scene {
            kernel: &self.pf.kernel,
            level: self.level,
            stats: &self.pf.stats,
            rules: config.scrub(),
            around: self.surroundings(),
            interface: self.interface,
        };
        let mut packet = Some(packet);
        match self.pf.norm.normalise(&mut packet, &scene) {
            Ok(None) => Ok(Fate::Decided(Outcome::Kept)),
            Ok(Some(normal)) => {
                normal.packet.check_fragment()?;
                Ok(Fate::Goes(normal))
            }
            Err(refused) => {
                if let (Some(packet), Some(rule)) = (packet, refused.rule) {
                    self.log_scrubbed(&packet, rule, refused.reason);
                }
                Err(refused.reason)
            }
        }
    }
}

impl Filter<'_> {
    /// Judges a segment of a connection that scrub keeps track of: what counts of it.
    ///
    /// # Errors
    /// PFRES_TS.
    #[inline(never)]
    pub(super) fn check_timestamps(
        &self,
        scrub: &SpinLock<[ScrubPeer; 2]>,
        packet: &Packet,
        forward: bool,
    ) -> Result<Option<Stamped>, Reason> {
        let Some(stamped) = Stamped::read(packet) else {
            return Ok(None);
        };
        let ends = scrub.lock(self.level);
        let [first, other] = &*ends;
        let (src, dst) = if forward { (first, other) } else { (other, first) };
        let tolerance = self.pf.timeouts.get(Timeout::TsDiff);
        stamped.check(src, dst, self.pf.kernel.uptime(), tolerance)?;
        Ok(Some(stamped))
    }

    /// Takes in what a segment says that belongs to the connection, and modulates its timestamps.
    #[inline(never)]
    pub(super) fn settle_timestamps(
        &self,
        scrub: &SpinLock<[ScrubPeer; 2]>,
        stamped: &Stamped,
        packet: &mut Packet,
        forward: bool,
    ) -> Result<(), Reason> {
        let mut ends = scrub.lock(self.level);
        let [first, other] = &mut *ends;
        let (src, dst) = if forward { (first, other) } else { (other, first) };
        let kernel = &self.pf.kernel;
        stamped
            .settle(src, dst, packet, kernel, kernel.uptime())
            .map_err(|_| Reason::Memory)
    }

    /// Begins to keep track of the connection that a packet opens.
    #[inline(never)]
    pub(super) fn begin_timestamps(&self, extra: &mut Option<KBox<Extra>>, packet: &mut Packet) -> Result<(), Reason> {
        let Some(stamped) = Stamped::read(packet) else {
            return Ok(());
        };
        let scrub = SpinLock::new(Default::default());
        self.settle_timestamps(&scrub, &stamped, packet, true)?;
        Extra::entry(extra).map_err(|_| Reason::Memory)?.scrub = Some(scrub);
        Ok(())
    }
}

/// Cuts a packet that passes, and sends what it was cut into on its way: out, or once more in.
#[inline(never)]
pub(super) fn send_cut(pf: &Pf, direction: Direction, packet: Mbuf, ifindex: u16, cut: &Cut) -> Verdict {
    let mut lost = false;
    let tag = packet.tag();
    let outcome = cut.apply(packet, |mut fragment| {
        let marked = match direction {
            Direction::In => fragment.mark_refragmented(),
            Direction::Out => fragment.mark_from_pf(),
        };
        // The first has what the whole had, the others have nothing; the whole that they make on their way out has the first's.
        let marked = marked.and_then(|()| if tag == 0 { Ok(()) } else { fragment.set_tag(tag) });
        match (marked, direction) {
            (Ok(()), Direction::In) => pf.kernel.input(ifindex, fragment),
            (Ok(()), Direction::Out) => pf.kernel.output(fragment),
            (Err(_), _) => lost = true,
        }
    });
    if outcome.is_err() || lost {
        pf.stats.count(Reason::Memory);
        return Verdict::Drop;
    }
    Verdict::Kept
}
