//! Where pf's ioctls go: `/dev/pf`, or the socket of a pf-router.
//!
//! An argument often holds a pointer to more of the caller's memory. A [`Device`] is given both as bytes and puts the pointer
//! in itself, so that nobody else handles addresses, and a test can play the kernel without any `unsafe`.

mod argument;
mod calls;
mod character;
mod ioctl;
mod socket;
mod tables;

pub use calls::{ListName, Pf, as_bytes_mut};
pub use tables::Replaced;

use pf_abi::{DIOCRADDADDRS, DIOCRCLRADDRS, DIOCRCLRTABLES, DIOCRDELADDRS, DIOCRINADEFINE, DIOCRSETADDRS, errno};
use std::fmt;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

/// An error number as NetBSD counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match errno::text(self.0) {
            Some(text) => f.write_str(text),
            None => write!(f, "error {}", self.0),
        }
    }
}

/// Memory that an argument points to.
#[derive(Debug)]
pub struct Buffer<'a> {
    /// The byte of the argument at which the pointer stands.
    pub pointer_at: usize,
    /// The memory.
    pub bytes: &'a mut [u8],
}

/// Something that takes pf's ioctls.
pub trait Device {
    /// Does an ioctl. `argument` has [`pf_abi::ioctl::size`] bytes; `buffer` is the memory that it points to, if it does.
    fn ioctl(&mut self, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Result<(), Failure>;
}

/// Why an ioctl did not happen.
#[derive(Debug)]
pub enum Failure {
    /// pf refused it.
    Refused(Errno),
    /// It did not get there.
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An ioctl that failed.
#[derive(Debug, thiserror::Error)]
pub struct IoctlError {
    /// Its number.
    pub cmd: u64,
    /// Why.
    pub failure: Failure,
    /// What it was meant to do.
    pub doing: String,
}

impl IoctlError {
    /// The number with which pf refused it.
    pub fn errno(&self) -> Option<i32> {
        match self.failure {
            Failure::Refused(Errno(number)) => Some(number),
            Failure::Io(_) => None,
        }
    }

    /// Whether pf does not know this ioctl.
    pub fn is_unknown(&self) -> bool {
        matches!(
            self.errno(),
            Some(errno::ENODEV | errno::ENOTTY | errno::EOPNOTSUPP | errno::ENOSYS)
        )
    }

    /// Says more exactly what it was meant to do.
    pub fn doing(mut self, doing: impl Into<String>) -> Self {
        self.doing = doing.into();
        self
    }

    /// What might help.
    fn advice(&self) -> Option<&'static str> {
        Some(match self.errno()? {
            errno::EPERM if matches!(self.cmd, DIOCRADDADDRS | DIOCRDELADDRS | DIOCRSETADDRS | DIOCRCLRADDRS) => {
                "the table is constant, or you may not change pf"
            }
            errno::ESRCH if (DIOCRCLRTABLES..=DIOCRINADEFINE).contains(&self.cmd) => "there is no such table",
            errno::ENOENT if (DIOCRCLRTABLES..=DIOCRINADEFINE).contains(&self.cmd) => "there is no such anchor",
            errno::ENOMEM if (DIOCRCLRTABLES..=DIOCRINADEFINE).contains(&self.cmd) => {
                "see `set limit tables` and `set limit table-entries` in pf.conf(5)"
            }
            errno::EPERM | errno::EACCES => "only root may change pf, and not at a raised securelevel",
            errno::EBUSY => "somebody else changes the rules at the same time: try again",
            errno::ENOMEM => "the kernel is out of memory for this",
            errno::ENOSPC => "a limit is reached: see `pfctl -s memory` and `set limit` in pf.conf(5)",
            errno::EOPNOTSUPP if self.cmd == pf_abi::DIOCADDRULE => {
                "the rule asks for something that this pf does not have"
            }
            _ if self.is_unknown() => "this pf does not have it",
            _ => return None,
        })
    }
}

impl fmt::Display for IoctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = pf_abi::ioctl::name(self.cmd).unwrap_or("ioctl");
        match &self.failure {
            Failure::Refused(errno) => write!(f, "{}: {name}: {errno}", self.doing)?,
            Failure::Io(error) => write!(f, "{}: {name}: {error}", self.doing)?,
        }
        if let Some(advice) = self.advice() {
            write!(f, " ({advice})")?;
        }
        Ok(())
    }
}

/// Whether a device is opened to change things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only to look.
    Read,
    /// To change things.
    Write,
}

/// A device could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct OpenError {
    path: PathBuf,
    reason: String,
}

/// Opens a device by what lies at its path: a character device, or a Unix socket.
pub fn open(path: &Path, access: Access) -> Result<Box<dyn Device>, OpenError> {
    let fail = |reason: String| OpenError {
        path: path.to_owned(),
        reason,
    };
    let kind = std::fs::metadata(path)
        .map_err(|error| fail(explain(&error)))?
        .file_type();
    if kind.is_socket() {
        let device = socket::SocketDevice::connect(path, access).map_err(|error| fail(explain(&error)))?;
        Ok(Box::new(device))
    } else if kind.is_char_device() {
        let device = character::CharacterDevice::open(path, access).map_err(|error| fail(explain(&error)))?;
        Ok(Box::new(device))
    } else {
        Err(fail("neither a character device nor a Unix socket".to_owned()))
    }
}

fn explain(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "; is pf loaded, or pf-router running? (-p names another path)",
        io::ErrorKind::PermissionDenied => "; only root may use pf",
        io::ErrorKind::ConnectionRefused => "; pf-router is not running",
        _ => "",
    };
    format!("{error}{advice}")
}
