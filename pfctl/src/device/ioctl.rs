//! The call of ioctl(2).
#![allow(unsafe_code)]

use super::{Buffer, argument::place};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Does an ioctl on an open `/dev/pf`. An error of kind `InvalidInput` where the argument says what is not so.
pub(super) fn ioctl(fd: BorrowedFd<'_>, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> io::Result<()> {
    place(cmd, argument, buffer)?;
    // SAFETY: `fd` is open for as long as it is borrowed. pf copies in and out as many bytes of `argument` as the number says,
    // which `place` has checked that it has. The pointer in it is that of `buffer`, which the caller borrows exclusively
    // until this returns and whose provenance is exposed; pf reads and writes no more there than the argument says, which `place`
    // has checked that `buffer` has. pf keeps neither address after the call.
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

    #[test]
    fn a_device_that_is_not_pf_says_so() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut argument = pf_abi::IocStates::default();
        let error = ioctl(null.as_fd(), pf_abi::DIOCGETSTATES, argument.as_mut_bytes(), None);
        assert_eq!(error.unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }

    #[test]
    fn an_argument_that_claims_too_much_memory_is_not_passed_on() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut argument = pf_abi::IocStates {
            len: 240,
            ..Default::default()
        };
        let error = ioctl(null.as_fd(), pf_abi::DIOCGETSTATES, argument.as_mut_bytes(), None);
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
