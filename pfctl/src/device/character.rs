//! `/dev/pf`.

use super::{Access, Buffer, Device, Errno, Failure, ioctl};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

/// An open `/dev/pf`.
#[derive(Debug)]
pub(super) struct CharacterDevice(File);

impl CharacterDevice {
    pub(super) fn open(path: &Path, access: Access) -> io::Result<Self> {
        OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            .open(path)
            .map(Self)
    }
}

impl Device for CharacterDevice {
    fn ioctl(&mut self, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Result<(), Failure> {
        ioctl::ioctl(self.0.as_fd(), cmd, argument, buffer).map_err(|error| {
            match error.raw_os_error() {
                // Of NetBSD's kernel, the numbers are NetBSD's; others have no pf.
                Some(number) if cfg!(target_os = "netbsd") => Failure::Refused(Errno(number)),
                _ => Failure::Io(error),
            }
        })
    }
}
