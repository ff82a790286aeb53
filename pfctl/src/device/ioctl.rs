//! The call of ioctl(2): the only `unsafe` of this crate.
//!
//! The kernel reads and writes memory by what an argument says, so a wrong length in it would let the kernel write where it
//! must not. That is checked here, for each ioctl that holds a pointer; one that is not known here is not called.
#![allow(unsafe_code)]

use super::Buffer;
use pf_abi::ioctl;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// The bytes at the pointer of an argument that the kernel may read or write, by the argument's own count. `None` for an ioctl
/// without a pointer.
fn pointed_to(cmd: u64, argument: &[u8]) -> Option<usize> {
    let number = |at: usize| -> usize {
        let bytes = argument.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        // A negative count is one that no buffer can hold.
        bytes.map_or(usize::MAX, |bytes| {
            usize::try_from(i32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
        })
    };
    match cmd {
        ioctl::DIOCGETSTATES | ioctl::DIOCADDSTATES | ioctl::DIOCGETSRCNODES => Some(number(0)),
        ioctl::DIOCGETSTATE | ioctl::DIOCADDSTATE => Some(size_of::<pf_abi::SyncState>()),
        ioctl::DIOCXBEGIN | ioctl::DIOCXCOMMIT | ioctl::DIOCXROLLBACK => Some(number(0).saturating_mul(number(4))),
        ioctl::DIOCIGETIFACES => Some(number(24).saturating_mul(number(28))),
        _ => None,
    }
}

/// Whether this crate calls an ioctl that holds a pointer it does not know the size of.
fn has_unchecked_pointer(cmd: u64) -> bool {
    let table = size_of::<pf_abi::IocTable>();
    let altq_stats = cmd == ioctl::DIOCGETQSTATS;
    altq_stats || ioctl::size(cmd) == table
}

/// Does an ioctl on an open `/dev/pf`. `EINVAL` where the argument does not have the size that the number says, or says that
/// it points to more memory than `buffer` has.
pub(super) fn ioctl(fd: BorrowedFd<'_>, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> io::Result<()> {
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
    // SAFETY: `fd` is open for as long as it is borrowed. pf copies in and out as many bytes of `argument` as the number says,
    // which it has, as was checked. The pointer in it is 0 or that of `buffer`, exclusively borrowed, whose provenance is exposed;
    // pf reads and writes no more there than the argument says, which `buffer` has, as was checked. pf keeps neither
    // address after the call.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), cmd as _, argument.as_mut_ptr()) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use zerocopy::IntoBytes as _;

    fn null() -> std::fs::File {
        std::fs::File::open("/dev/null").unwrap()
    }

    #[test]
    fn an_argument_that_claims_too_much_memory_is_not_passed_on() {
        let mut argument = pf_abi::IocStates {
            len: 240,
            ..Default::default()
        };
        let mut bytes = [0; 239];
        let buffer = Buffer {
            pointer_at: 8,
            bytes: &mut bytes,
        };
        let error = ioctl(
            null().as_fd(),
            pf_abi::DIOCGETSTATES,
            argument.as_mut_bytes(),
            Some(buffer),
        );
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);

        argument.len = -1;
        let error = ioctl(null().as_fd(), pf_abi::DIOCGETSTATES, argument.as_mut_bytes(), None);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn an_argument_of_another_size_is_not_passed_on() {
        let error = ioctl(null().as_fd(), pf_abi::DIOCGETSTATUS, &mut [0; 8], None);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_device_that_is_not_pf_says_so() {
        let mut argument = pf_abi::IocStates::default();
        let error = ioctl(null().as_fd(), pf_abi::DIOCGETSTATES, argument.as_mut_bytes(), None);
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
