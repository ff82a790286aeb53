//! mbuf(9): a packet as a chain of segments.

use core::ffi::c_int;
use core::fmt;
use core::ptr::NonNull;
use core::slice;

use super::{Direction, NoMemory, ffi};

/// A packet, from its IP header on.
///
/// # Invariants
/// The pointer is the first mbuf of a chain that is ours alone, with a packet header (M_PKTHDR) whose length is the
/// sum of the segments' lengths.
pub struct Mbuf(NonNull<ffi::mbuf>);

/// In the data of pf's packet tag (PACKET_TAG_PF): pf sent this itself.
const GENERATED: u64 = 1;
/// In the same place: pf has put it together on the way in, judged it, and cut it again.
const REFRAGMENTED: u64 = 2;
/// Where the number of a rule's tag is in it, 16 bits.
const TAG_SHIFT: u32 = 16;

impl Mbuf {
    /// A new packet of `len` zero bytes, in one segment, with room for a link-layer header before it. There is none
    /// where `len` does not fit into one cluster.
    pub fn new(len: usize) -> Option<Self> {
        // SAFETY: one global of the kernel, which does not change once the interfaces are there.
        let lead = usize::try_from(unsafe { ffi::max_linkhdr }).ok()?.next_multiple_of(8);
        let size = lead.checked_add(len)?;
        if size > ffi::MCLBYTES as usize {
            return None;
        }
        // SAFETY: the call does not sleep, and gives one mbuf with an empty packet header, or nothing.
        let mut packet = Mbuf(NonNull::new(unsafe {
            ffi::m_gethdr(ffi::M_NOWAIT, ffi::MT_DATA as c_int)
        })?);
        if size > ffi::PF_MHLEN as usize {
            // SAFETY: the mbuf is fresh; on success it has a cluster of MCLBYTES and the flag M_EXT.
            unsafe { ffi::m_clget(packet.0.as_ptr(), ffi::M_NOWAIT) };
            if packet.first().m_hdr.mh_flags & ffi::M_EXT == 0 {
                return None;
            }
        }
        // SAFETY: the mbuf has room for `size` bytes from its start on, seen above, and they are ours.
        unsafe {
            let first = packet.0.as_mut();
            first.m_hdr.mh_data = first.m_hdr.mh_data.add(lead);
            first.m_hdr.mh_data.write_bytes(0, len);
            first.m_hdr.mh_len = len as c_int;
            first.M_dat.MH.MH_pkthdr.len = len as c_int;
        }
        Some(packet)
    }

    /// Takes over a packet from C.
    ///
    /// # Safety
    /// The invariant holds for `raw`, and nobody else uses it.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<ffi::mbuf>) -> Self {
        Mbuf(raw)
    }

    /// The packet, for C to look at.
    #[inline]
    pub(super) fn as_raw(&self) -> NonNull<ffi::mbuf> {
        self.0
    }

    /// Hands the packet over to C.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<ffi::mbuf> {
        core::mem::ManuallyDrop::new(self).0
    }

    #[inline]
    fn first(&self) -> &ffi::mbuf {
        // SAFETY: by the invariant it is there.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn header(&self) -> &ffi::pkthdr {
        // SAFETY: by the invariant the first mbuf has a packet header.
        unsafe { &self.first().M_dat.MH.MH_pkthdr }
    }

    #[inline]
    fn header_mut(&mut self) -> &mut ffi::pkthdr {
        // SAFETY: by the invariant the first mbuf has a packet header, and it is ours.
        unsafe { &mut self.0.as_mut().M_dat.MH.MH_pkthdr }
    }

    /// The whole packet's length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.header().len as usize
    }

    /// Whether there is no byte at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first segment's bytes.
    #[inline]
    pub fn head(&self) -> &[u8] {
        bytes(self.first())
    }

    /// m_copydata(9): fills `to` from `offset` on, or says that the packet ends before.
    pub fn copy(&self, offset: usize, to: &mut [u8]) -> bool {
        if offset.checked_add(to.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        let mut filled = 0;
        self.visit(offset, to.len(), |part| {
            if let Some(to) = to.get_mut(filled..filled + part.len()) {
                to.copy_from_slice(part);
                filled += part.len();
            }
        });
        filled == to.len()
    }

    /// Visits `len` bytes from `offset` on, segment by segment, as far as the packet goes.
    pub fn visit(&self, offset: usize, len: usize, mut visit: impl FnMut(&[u8])) {
        let mut skip = offset;
        let mut left = len;
        let mut next = Some(self.first());
        while let Some(segment) = next {
            if left == 0 {
                break;
            }
            let all = bytes(segment);
            match all.get(skip..) {
                Some(part) => {
                    let part = &part[..left.min(part.len())];
                    if !part.is_empty() {
                        visit(part);
                    }
                    left -= part.len();
                    skip = 0;
                }
                None => skip -= all.len(),
            }
            // SAFETY: by the invariant a chain of ours; its end is a null pointer.
            next = unsafe { segment.m_hdr.mh_next.as_ref() };
        }
    }

    /// Makes the first `len` bytes contiguous and ours to write (m_ensure_contig, which leaves the packet as it is
    /// where it fails), and gives them. `len` is at most the packet's length, and at most what fits into an mbuf,
    /// 400 bytes.
    pub fn head_mut(&mut self, len: usize) -> Result<&mut [u8], NoMemory> {
        if !self.may_write(len) {
            let wanted = c_int::try_from(len).map_err(|_| NoMemory)?;
            let mut raw = self.0.as_ptr();
            // SAFETY: by the invariant this is a packet, and its new first mbuf is put into `raw`. The bytes are
            // moved into an mbuf's own room, which nobody shares.
            let done = len <= self.len() && unsafe { ffi::m_ensure_contig(&mut raw, wanted) };
            // It may have begun before memory ran out.
            self.0 = NonNull::new(raw).ok_or(NoMemory)?;
            if !done || !self.may_write(len) {
                return Err(NoMemory);
            }
        }
        let start = self.first().m_hdr.mh_data.cast::<u8>();
        // SAFETY: there are `len` bytes in the first segment, they are ours to write, and `&mut self` covers the
        // borrow.
        Ok(unsafe { slice::from_raw_parts_mut(start, len) })
    }

    /// m_split(9): keeps the first `at` bytes and gives the others, as a packet without marks that came by the same interface. `at` is
    /// at most the packet's length; where there is no memory, the packet is as before.
    pub fn split_off(&mut self, at: usize) -> Result<Self, NoMemory> {
        if at > self.len() {
            return Err(NoMemory);
        }
        let at = c_int::try_from(at).map_err(|_| NoMemory)?;
        // SAFETY: by the invariant this is a packet of ours, which has so many bytes. The call does not sleep, and sets the lengths
        // of both packets.
        let rest = unsafe { ffi::m_split(self.0.as_ptr(), at, ffi::M_NOWAIT) };
        NonNull::new(rest).map(Mbuf).ok_or(NoMemory)
    }

    /// m_cat(9): puts the bytes of another packet behind those of this one. Its marks are lost, and what a network interface has
    /// verified or is to compute is forgotten.
    pub fn append(&mut self, other: Self) {
        let added = other.header().len;
        let other = other.into_raw();
        // SAFETY: by the invariant both are packets of ours, and `other` is one chain with this one from here on: its packet header
        // goes before, as a chain has one.
        unsafe {
            ffi::m_remove_pkthdr(other.as_ptr());
            ffi::m_cat(self.0.as_ptr(), other.as_ptr());
        }
        let header = self.header_mut();
        header.len = header.len.saturating_add(added);
        header.csum_flags = 0;
    }

    /// m_adj(9): takes the first `len` bytes away.
    pub fn trim_front(&mut self, len: usize) {
        let len = len.min(self.len()) as c_int;
        // SAFETY: by the invariant this is a packet of ours, which has so many bytes.
        unsafe { ffi::m_adj(self.0.as_ptr(), len) };
    }

    /// m_adj(9): takes all but the first `len` bytes away.
    pub fn truncate(&mut self, len: usize) {
        let surplus = self.len().saturating_sub(len) as c_int;
        if surplus != 0 {
            // SAFETY: by the invariant this is a packet of ours, which has so many bytes.
            unsafe { ffi::m_adj(self.0.as_ptr(), -surplus) };
        }
    }

    /// M_PREPEND(9): the packet with `len` bytes of zeros in front, at most 200. Where there is no memory, it is freed.
    pub fn prepend(self, len: usize) -> Option<Self> {
        if len > Self::MOST_PREPENDED {
            return None;
        }
        let wanted = c_int::try_from(len).ok()?;
        // SAFETY: by the invariant this is a packet of ours. The call does not sleep, and frees it where it fails. It puts an mbuf of
        // so many bytes of its own in front, which is longer than 200, and moves the packet header there.
        let packet = unsafe {
            let raw = NonNull::new(ffi::m_prepend(self.into_raw().as_ptr(), wanted, ffi::M_NOWAIT))?;
            raw.as_ref().m_hdr.mh_data.write_bytes(0, len);
            let mut packet = Mbuf(raw);
            let header = packet.header_mut();
            header.len = header.len.saturating_add(wanted);
            packet
        };
        Some(packet)
    }

    /// The most bytes that [`prepend`](Self::prepend) puts in front.
    pub const MOST_PREPENDED: usize = 200;

    /// Whether the first `len` bytes are in the first segment, and nobody shares them.
    #[inline]
    fn may_write(&self, len: usize) -> bool {
        self.head().len() >= len
            && (self.first().m_hdr.mh_flags & ffi::M_EXT == 0
                // SAFETY: by the invariant this is an mbuf.
                || unsafe { !ffi::pfk_mbuf_is_readonly(self.0.as_ptr()) })
    }

    /// Computes what the network interface was to compute before the bytes it covers change (M_CSUM), and forgets
    /// what one has verified. The IP header is in the first segment.
    pub fn settle_checksums(&mut self, direction: Direction) -> Result<(), NoMemory> {
        const TRANSPORT_V4: c_int = ffi::M_CSUM_TCPv4 | ffi::M_CSUM_UDPv4;
        const TRANSPORT_V6: c_int = ffi::M_CSUM_TCPv6 | ffi::M_CSUM_UDPv6;

        match direction {
            Direction::In => self.header_mut().csum_flags = 0,
            Direction::Out => {
                let owed = self.header().csum_flags;
                let raw = self.0.as_ptr();
                // SAFETY: by the invariant this is a packet; the flags say of which family, and what is owed.
                unsafe {
                    if owed & TRANSPORT_V4 != 0 {
                        ffi::in_undefer_cksum_tcpudp(raw);
                    } else if owed & TRANSPORT_V6 != 0 {
                        ffi::in6_undefer_cksum_tcpudp(raw);
                    }
                }
                self.header_mut().csum_flags = owed & !(TRANSPORT_V4 | TRANSPORT_V6);
            }
        }
        Ok(())
    }

    /// Puts the packet into a queue, by its number. There are none (see [`super::Kernel::has_queues`]).
    pub fn set_queue(&mut self, _queue: u32) {}

    /// m_dup(9): a packet of the same bytes, and nothing else in common.
    pub fn duplicate(&self) -> Option<Self> {
        let len = c_int::try_from(self.len()).ok()?;
        // SAFETY: by the invariant this is a packet, which is only read; the call does not sleep, and what it gives is a packet
        // of its own, or nothing.
        NonNull::new(unsafe { ffi::m_dup(self.0.as_ptr(), 0, len, ffi::M_NOWAIT as c_int) }).map(Mbuf)
    }

    /// Whether a network interface is to cut it into segments that fit (M_CSUM_TSOv4, M_CSUM_TSOv6).
    pub fn is_cut_later(&self) -> bool {
        self.header().csum_flags & (ffi::M_CSUM_TSOv4 | ffi::M_CSUM_TSOv6) != 0
    }

    /// What pf's own packet tag says, 0 without one.
    #[inline]
    fn marks(&self) -> u64 {
        if self.header().tags.slh_first.is_null() {
            return 0;
        }
        // SAFETY: by the invariant this is a packet; the data of a tag lies behind it, and pf's is a u64.
        unsafe {
            let tag = ffi::m_tag_find(self.0.as_ptr(), ffi::PACKET_TAG_PF);
            if tag.is_null() || usize::from((*tag).m_tag_len) != size_of::<u64>() {
                return 0;
            }
            tag.add(1).cast::<u64>().read_unaligned()
        }
    }

    /// Notes that this answers `packet`. It leaves by the interface that the other came in by where the address that it goes to
    /// does not say which one: a link-local address of IPv6 is one of each.
    pub fn answers(&mut self, packet: &Mbuf) {
        // SAFETY: the union is the interface's index wherever the network stack hands a packet to pf, or zero.
        let index = unsafe { packet.header()._rcvif.index };
        self.header_mut()._rcvif.index = index;
    }

    /// Writes pf's own packet tag, and makes one where there is none.
    fn set_marks(&mut self, marks: u64) -> Result<(), NoMemory> {
        const LEN: usize = size_of::<u64>();
        // SAFETY: by the invariant this is a packet, and its tags are ours. The call that makes one does not sleep; a tag has
        // room for as much data as was asked for, behind it, and belongs to the packet once it is prepended.
        unsafe {
            let mut tag = ffi::m_tag_find(self.0.as_ptr(), ffi::PACKET_TAG_PF);
            if tag.is_null() || usize::from((*tag).m_tag_len) != LEN {
                tag = ffi::m_tag_get(ffi::PACKET_TAG_PF, LEN as c_int, ffi::M_NOWAIT);
                if tag.is_null() {
                    return Err(NoMemory);
                }
                ffi::m_tag_prepend(self.0.as_ptr(), tag);
            }
            tag.add(1).cast::<u64>().write_unaligned(marks);
        }
        Ok(())
    }

    /// Whether pf sent this packet itself: it passes.
    #[inline]
    pub fn is_from_pf(&self) -> bool {
        self.marks() & GENERATED != 0
    }

    /// Marks the packet as pf's own.
    pub fn mark_from_pf(&mut self) -> Result<(), NoMemory> {
        self.set_marks(self.marks() | GENERATED)
    }

    /// Whether this is a fragment of what pf has put together and judged on the way in, and cut again.
    #[inline]
    pub fn is_refragmented(&self) -> bool {
        self.marks() & REFRAGMENTED != 0
    }

    /// Marks the packet as such a fragment.
    pub fn mark_refragmented(&mut self) -> Result<(), NoMemory> {
        self.set_marks(self.marks() | REFRAGMENTED)
    }

    /// The number of the tag that a rule gave the packet; 0 for none.
    #[inline]
    pub fn tag(&self) -> u16 {
        (self.marks() >> TAG_SHIFT) as u16
    }

    /// Gives the packet a tag.
    pub fn set_tag(&mut self, tag: u16) -> Result<(), NoMemory> {
        let others = self.marks() & !(u64::from(u16::MAX) << TAG_SHIFT);
        self.set_marks(others | u64::from(tag) << TAG_SHIFT)
    }

    /// The packet goes through the IP stack's slow path, and so through the hooks on its way out (M_CANFASTFWD).
    pub(crate) fn forbid_fast_forward(&mut self) {
        // SAFETY: by the invariant it is there, and ours.
        unsafe { self.0.as_mut() }.m_hdr.mh_flags &= !ffi::M_CANFASTFWD;
    }
}

/// One segment's bytes.
#[inline]
fn bytes(segment: &ffi::mbuf) -> &[u8] {
    // SAFETY: an mbuf's data are `mh_len` bytes from `mh_data` on, and stay as long as the mbuf.
    unsafe { slice::from_raw_parts(segment.m_hdr.mh_data.cast(), segment.m_hdr.mh_len as usize) }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.len())
            .field("head", &self.head())
            .finish()
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: by the invariant the chain is ours.
        unsafe { ffi::m_freem(self.0.as_ptr()) };
    }
}

// SAFETY: a chain of mbufs is handed from CPU to CPU by the kernel itself.
unsafe impl Send for Mbuf {}
