//! The socket of a pf-router: [`pf_abi::socket`] has the protocol.
//!
//! The argument does not go through the socket. The server reads and writes it in this process's memory while this process
//! waits for the reply, as a kernel would during ioctl(2).

use super::{Access, Buffer, Device, Errno, Failure, argument::place};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use pf_abi::socket::{READ_ONLY, Reply, Request};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// A connection to a pf-router.
#[derive(Debug)]
pub(super) struct SocketDevice {
    fd: OwnedFd,
    flags: u32,
}

impl SocketDevice {
    pub(super) fn connect(path: &Path, access: Access) -> io::Result<Self> {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self {
            fd,
            flags: match access {
                Access::Read => READ_ONLY,
                Access::Write => 0,
            },
        })
    }

    fn exchange(&self, request: &Request) -> io::Result<Reply> {
        let broken = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer does not come from a pf-router of this version",
            )
        };
        retry(|| send(self.fd.as_raw_fd(), request.as_bytes(), MsgFlags::MSG_NOSIGNAL))?;
        // One byte more than a reply has, to see one that is too long.
        let mut bytes = [0; size_of::<Reply>() + 1];
        let length = retry(|| recv(self.fd.as_raw_fd(), &mut bytes, MsgFlags::empty()))?;
        if length == 0 {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "pf-router closed the connection",
            ));
        }
        let reply = Reply::read_from_bytes(&bytes[..length]).map_err(|_| broken())?;
        if reply.is_valid() { Ok(reply) } else { Err(broken()) }
    }
}

/// Does a system call again while a signal interrupts it: the server may be at work on this process's memory.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(nix::Error::EINTR) => {}
            result => return result,
        }
    }
}

impl Device for SocketDevice {
    fn ioctl(&mut self, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Result<(), Failure> {
        place(cmd, argument, buffer)?;
        let address = match argument.len() {
            0 => 0,
            _ => argument.as_mut_ptr().expose_provenance() as u64,
        };
        let reply = self.exchange(&Request::new(cmd, address, self.flags))?;
        match reply.errno {
            0 => Ok(()),
            number => Err(Failure::Refused(Errno(number))),
        }
    }
}
