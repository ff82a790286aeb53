//! pserialize(9) on a host: readers count themselves in and out, and a writer waits for those that were there.
//!
//! # Synchronisation
//! A thread counts in a slot of its own, so that readers write nothing that another one reads. Each slot has two counters, and a
//! writer flips which one newcomers take: the other can only fall. A reader may have read which counter to take just before a flip
//! and count itself just after, so the writer flips twice.
//!
//! A reader must be seen to have counted itself before it reads what it came for. It does not order that itself, as
//! splraise(9) does not in a kernel: the writer has every CPU that runs a thread of ours do so, by membarrier(2). Where there is no such
//! call, or more threads than slots, readers share a slot, and count with instructions that order.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering, compiler_fence};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::slot::{self, SHARED, SLOTS};
use super::{SoftNet, barrier};

#[repr(align(128))]
struct Slot([AtomicUsize; 2]);

/// What readers and writers of passively protected data meet at.
pub struct Passive {
    slots: [Slot; SLOTS],
    current: AtomicUsize,
    writer: Mutex<()>,
}

impl Passive {
    /// pserialize_create(9).
    pub fn new() -> Result<Self, super::NoMemory> {
        Ok(Passive {
            slots: [const { Slot([const { AtomicUsize::new(0) }; 2]) }; SLOTS],
            current: AtomicUsize::new(0),
            writer: Mutex::new(()),
        })
    }

    /// pserialize_read_enter(9), until the section is dropped.
    #[inline]
    pub fn read<'a>(&'a self, _level: &'a SoftNet) -> ReadSection<'a> {
        // A thread that is about to end has given its slot back.
        let slot = slot::current();
        self.read_in(if barrier::is_available() { slot } else { SHARED })
    }

    #[inline]
    fn read_in(&self, slot: usize) -> ReadSection<'_> {
        let counter = &self.slots[slot].0[self.current.load(Ordering::Relaxed) & 1];
        let is_own = slot != SHARED;
        if is_own {
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            compiler_fence(Ordering::SeqCst);
        } else {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        ReadSection {
            counter,
            is_own,
            of_this_thread: PhantomData,
        }
    }

    /// pserialize_perform(9): returns when every read section that was open at the call has ended.
    pub fn wait(&self) {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..2 {
            let old = self.current.fetch_add(1, Ordering::AcqRel) & 1;
            barrier::order_all();
            let (shared, own) = self.slots.split_at(SHARED + 1);
            // A read that writes: a reader that counts itself after it sees all that we did before.
            while shared
                .iter()
                .any(|slot| slot.0[old].fetch_add(0, Ordering::AcqRel) != 0)
            {
                thread::yield_now();
            }
            for slot in own {
                while slot.0[old].load(Ordering::Acquire) != 0 {
                    thread::yield_now();
                }
            }
        }
    }
}

/// An open read section.
///
/// # Invariants
/// The thread that counted itself in counts itself out: the section does not leave it.
pub struct ReadSection<'a> {
    counter: &'a AtomicUsize,
    is_own: bool,
    of_this_thread: PhantomData<*mut ()>,
}

impl Drop for ReadSection<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.is_own {
            self.counter
                .store(self.counter.load(Ordering::Relaxed) - 1, Ordering::Release);
        } else {
            self.counter.fetch_sub(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicPtr};
    use std::sync::mpsc;
    use std::vec::Vec;

    #[test]
    fn a_writer_waits_for_the_reader_that_was_there() {
        let passive = Passive::new().unwrap();
        thread::scope(|scope| {
            let level = SoftNet::raise();
            let section = passive.read(&level);
            let (done, waited) = mpsc::channel();
            let passive = &passive;
            scope.spawn(move || {
                passive.wait();
                done.send(()).unwrap();
            });
            while passive.current.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            assert!(waited.try_recv().is_err());
            drop(section);
            waited.recv().unwrap();
        });
    }

    /// Readers follow a pointer whose target is overwritten as soon as the writer is told that nobody looks any more. One of them
    /// counts in the shared slot.
    #[test]
    fn nobody_sees_what_a_writer_has_done_with() {
        const GONE: usize = usize::MAX;
        let passive = Passive::new().unwrap();
        let current = AtomicPtr::new(Box::into_raw(Box::new(AtomicUsize::new(0))));
        let done = AtomicBool::new(false);
        let ready = Barrier::new(4);
        thread::scope(|scope| {
            for is_own in [true, true, false] {
                let (passive, ready, done, current) = (&passive, &ready, &done, &current);
                scope.spawn(move || {
                    ready.wait();
                    while !done.load(Ordering::Relaxed) {
                        let level = SoftNet::raise();
                        let section = if is_own {
                            passive.read(&level)
                        } else {
                            passive.read_in(SHARED)
                        };
                        // SAFETY: the writer frees nothing before the scope ends.
                        let value = unsafe { &*current.load(Ordering::Acquire) };
                        assert_ne!(value.load(Ordering::Relaxed), GONE);
                        drop(section);
                    }
                });
            }
            ready.wait();
            let mut old = Vec::new();
            for n in 1..200 {
                let new = Box::into_raw(Box::new(AtomicUsize::new(n)));
                let gone = current.swap(new, Ordering::AcqRel);
                passive.wait();
                // SAFETY: it is freed below.
                unsafe { (*gone).store(GONE, Ordering::Relaxed) };
                old.push(gone);
            }
            done.store(true, Ordering::Relaxed);
            old
        })
        .into_iter()
        .chain([current.into_inner()])
        // SAFETY: each comes from a box, and no reader is left.
        .for_each(|value| drop(unsafe { Box::from_raw(value) }));
    }
}
