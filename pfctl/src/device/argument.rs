//! Arguments that point to more memory.
//!
//! pf reads and writes at a pointer as many bytes as the argument says. A wrong count would let it write where it must not,
//! so it is checked here before the pointer is put in, for each ioctl that holds one; one whose count is not known here
//! is not done.

use super::Buffer;
use pf_abi::{IocTable, ioctl};
use std::io;
use std::mem::offset_of;

/// The bytes at the pointer of an argument that pf may read or write, by the argument's own count. `None` for an ioctl
/// without a pointer.
fn pointed_to(cmd: u64, argument: &[u8]) -> Option<usize> {
    let number = |at: usize| -> usize {
        let bytes = argument.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        // A negative count is one that no buffer can hold.
        bytes.map_or(usize::MAX, |bytes| {
            usize::try_from(i32::from_ne_bytes(bytes)).unwrap_or(usize::MAX)
        })
    };
    match cmd {
        ioctl::DIOCGETSTATES | ioctl::DIOCADDSTATES | ioctl::DIOCGETSRCNODES => Some(number(0)),
        ioctl::DIOCGETSTATE | ioctl::DIOCADDSTATE => Some(size_of::<pf_abi::SyncState>()),
        ioctl::DIOCXBEGIN | ioctl::DIOCXCOMMIT | ioctl::DIOCXROLLBACK => Some(number(0).saturating_mul(number(4))),
        ioctl::DIOCRSETADDRS => {
            // The deleted ones come behind those that were given.
            let elements = number(offset_of!(IocTable, size)).max(number(offset_of!(IocTable, size2)));
            Some(number(offset_of!(IocTable, esize)).saturating_mul(elements))
        }
        _ if ioctl::size(cmd) == size_of::<IocTable>() => {
            Some(number(offset_of!(IocTable, esize)).saturating_mul(number(offset_of!(IocTable, size))))
        }
        ioctl::DIOCIGETIFACES => Some(number(24).saturating_mul(number(28))),
        _ => None,
    }
}

/// Whether an ioctl holds a pointer whose count is not known here.
fn has_unchecked_pointer(cmd: u64) -> bool {
    cmd == ioctl::DIOCGETQSTATS
}

/// Puts the address of `buffer` into an argument. An error where the argument does not have the size that the number says, or
/// says that it points to more memory than `buffer` has.
///
/// After it, pf reads and writes no memory of this process but `argument` and `buffer`.
pub(super) fn place(cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> io::Result<()> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    if argument.len() != ioctl::size(cmd) || has_unchecked_pointer(cmd) {
        return Err(invalid());
    }
    let needed = pointed_to(cmd, argument).unwrap_or(0);
    let available = buffer.as_ref().map_or(0, |buffer| buffer.bytes.len());
    if needed > available {
        return Err(invalid());
    }
    if let Some(buffer) = buffer {
        let address = buffer.bytes.as_mut_ptr().expose_provenance() as u64;
        let slot = argument
            .get_mut(buffer.pointer_at..buffer.pointer_at + size_of::<u64>())
            .ok_or_else(invalid)?;
        slot.copy_from_slice(&address.to_ne_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pf_abi::{IocIface, IocState, IocStates, IocTrans};
    use zerocopy::{FromBytes, Immutable, IntoBytes};

    /// Whether an argument goes with so many bytes at its pointer.
    fn fits<T: FromBytes + IntoBytes + Immutable>(cmd: u64, mut argument: T, pointer_at: usize, bytes: usize) -> bool {
        let mut memory = vec![0; bytes];
        let buffer = Buffer {
            pointer_at,
            bytes: &mut memory,
        };
        place(cmd, argument.as_mut_bytes(), Some(buffer)).is_ok()
    }

    #[test]
    fn an_argument_that_claims_too_much_memory_is_refused() {
        let states = |len| IocStates {
            len,
            ..IocStates::default()
        };
        assert!(fits(pf_abi::DIOCGETSTATES, states(240), 8, 240));
        assert!(!fits(pf_abi::DIOCGETSTATES, states(240), 8, 239));
        assert!(!fits(pf_abi::DIOCADDSTATES, states(-1), 8, 240));
        assert!(!fits(pf_abi::DIOCADDSTATE, IocState::default(), 8, 239));
        let trans = |size, esize| IocTrans {
            size,
            esize,
            ..IocTrans::default()
        };
        assert!(fits(pf_abi::DIOCXBEGIN, trans(2, 1032), 8, 2064));
        assert!(!fits(pf_abi::DIOCXBEGIN, trans(3, 1032), 8, 2064));
        assert!(!fits(pf_abi::DIOCXCOMMIT, trans(i32::MAX, i32::MAX), 8, 2064));
        let faces = |size| IocIface {
            size,
            esize: 232,
            ..IocIface::default()
        };
        assert!(fits(pf_abi::DIOCIGETIFACES, faces(1), 16, 232));
        assert!(!fits(pf_abi::DIOCIGETIFACES, faces(2), 16, 232));
        let table = |size, size2| IocTable {
            esize: 20,
            size,
            size2,
            ..IocTable::default()
        };
        for cmd in [pf_abi::DIOCRADDADDRS, pf_abi::DIOCRGETTABLES, pf_abi::DIOCRINADEFINE] {
            assert!(fits(cmd, table(3, 0), 1064, 60));
            assert!(!fits(cmd, table(4, 0), 1064, 60));
            assert!(!fits(cmd, table(-1, 0), 1064, 60));
        }
        assert!(fits(pf_abi::DIOCRSETADDRS, table(2, 3), 1064, 60));
        assert!(!fits(pf_abi::DIOCRSETADDRS, table(2, 4), 1064, 60));
        let queue = pf_abi::IocQstats::default();
        assert!(
            !fits(pf_abi::DIOCGETQSTATS, queue, 8, 64),
            "nothing is known here of its memory"
        );
    }

    #[test]
    fn an_argument_of_another_size_is_refused() {
        assert!(place(pf_abi::DIOCGETSTATUS, &mut [0; 8], None).is_err());
        assert!(place(pf_abi::DIOCGETSTATES, &mut [0; 16], None).is_ok());
    }

    #[test]
    fn the_pointer_is_that_of_the_memory() {
        let mut argument = IocStates::default();
        let mut memory = [0; 240];
        let address = memory.as_ptr().addr() as u64;
        let buffer = Buffer {
            pointer_at: 8,
            bytes: &mut memory,
        };
        place(pf_abi::DIOCGETSTATES, argument.as_mut_bytes(), Some(buffer)).unwrap();
        assert_eq!(argument.buf, pf_abi::UserPtr(address));
        let beyond = Buffer {
            pointer_at: 9,
            bytes: &mut memory,
        };
        assert!(place(pf_abi::DIOCGETSTATES, argument.as_mut_bytes(), Some(beyond)).is_err());
    }
}
