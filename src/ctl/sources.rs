//! Ioctls over source nodes.
//!
//! # Locking
//! One partition of their table at a time; the caller's memory is touched with none held.

use pf_abi::{AF_UNSPEC, IocSrcNodeKill, IocSrcNodes, SrcNode};
use zerocopy::IntoBytes;

use super::element;
use super::states::{End, as_byte};
use crate::Pf;
use crate::kpi::{Caller, Errno, SoftNet};
use crate::mem::{KBox, KVec};
use crate::source::{Node, Position};
use crate::state::Host;
use crate::wire::Af;

/// Bytes of a record.
const RECORD: usize = size_of::<SrcNode>();
/// Records that are made before a packet may come between.
const BATCH: usize = 64;

/// Bytes of so many records, as far as an `int` can say.
fn bytes(records: usize) -> i32 {
    const MOST: i32 = i32::MAX - i32::MAX % RECORD as i32;
    let bytes = records.checked_mul(RECORD).and_then(|bytes| i32::try_from(bytes).ok());
    bytes.unwrap_or(MOST)
}

/// DIOCGETSRCNODES: as many whole records as `len` bytes hold. `len` 0 asks how many bytes all need.
pub(super) fn dump(pf: &Pf, caller: &Caller<'_>, arg: &mut IocSrcNodes) -> Result<(), Errno> {
    let len = usize::try_from(arg.len).map_err(|_| Errno::Einval)?;
    if len == 0 {
        arg.len = bytes(pf.sources.len());
        return Ok(());
    }
    let room = len / RECORD;
    let mut records = KVec::with_capacity(room.min(BATCH))?;
    for _ in 0..room.min(BATCH) {
        records.push(SrcNode::default())?;
    }
    let mut done = 0;
    let mut at = Some(Position::default());
    while let Some(from) = at
        && done < room
    {
        let wanted = records.len().min(room - done);
        let batch = records.get_mut(..wanted).unwrap_or_default();
        let (made, next) = export(pf, from, batch);
        let made = batch.get(..made).unwrap_or_default();
        if !made.is_empty() {
            let to = element::<SrcNode>(arg.buf, done)?;
            caller.memory.copyout(made.as_bytes(), to)?;
        }
        done += made.len();
        at = next;
    }
    arg.len = bytes(done);
    Ok(())
}

/// Fills in records of nodes from `from` on. The answer is how many, and where to go on; nothing if that was all.
fn export(pf: &Pf, from: Position, records: &mut [SrcNode]) -> (usize, Option<Position>) {
    let level = SoftNet::raise();
    let now = pf.kernel.uptime();
    let mut made = 0;
    let mut at = Some(from);
    for _ in 0..BATCH {
        let Some(from) = at else { break };
        at = pf.sources.walk(from, &level, |node| {
            let Some(record) = records.get_mut(made) else {
                return false;
            };
            node.export(&level, now, crate::purge::source_lifetime(pf, node), record);
            made += 1;
            true
        });
        if made == records.len() {
            break;
        }
    }
    (made, at)
}

/// DIOCCLRSRCNODES.
pub(super) fn clear(pf: &Pf) -> Result<(), Errno> {
    remove(pf, |_| true);
    Ok(())
}

/// DIOCKILLSRCNODES: by the source, and by the address that a pool gave it.
///
/// # Errors
/// EINVAL for a family or a port's operator that there is not, and for an address without a family; EOPNOTSUPP for what is not an
/// address and a mask.
pub(super) fn kill(pf: &Pf, arg: &mut IocSrcNodeKill) -> Result<(), Errno> {
    let af = match arg.af {
        AF_UNSPEC => None,
        af => Some(Af::try_from(af).map_err(|_| Errno::Einval)?),
    };
    let (src, dst) = (KBox::new(End::new(&arg.src, af)?)?, KBox::new(End::new(&arg.dst, af)?)?);
    let killed = remove(pf, |node| {
        let given = node
            .given(&SoftNet::raise())
            .map(|given| given.addr)
            .unwrap_or_default();
        let host = |addr| Host { addr, port: 0 };
        af.is_none_or(|af| af == node.af) && src.matches(host(node.addr)) && dst.matches(host(given))
    });
    arg.af = as_byte(killed);
    Ok(())
}

/// Takes out the nodes that match. States that count there do so no more.
fn remove(pf: &Pf, matches: impl Fn(&Node) -> bool) -> u64 {
    let mut removed = 0;
    let mut at = Some(Position::default());
    while let Some(from) = at {
        let level = SoftNet::raise();
        let (count, next) = pf.sources.sweep(from, &level, &matches);
        removed += count;
        at = next;
    }
    pf.stats.count_source_removals(removed);
    removed
}
