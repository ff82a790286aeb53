//! The control socket: ioctls for the packet filter from a Unix socket, as /dev/pf takes them on NetBSD.
//!
//! # Overview
//! The protocol is [`pf_abi::socket`]'s. A request says where its argument lies in the memory of whoever sent it; the kernel tells, with
//! each message, which process and user that was (SCM_CREDENTIALS), so that a child that uses an inherited connection is served
//! from its own memory. Each connection has a thread, so that a caller whose memory is slow to reach holds up nobody else;
//! the engine serialises what has to be.
//!
//! # Life cycle
//! [`Control::listen`] makes the socket, with mode 0600 from the first moment on. One that nobody listens on any more is replaced, and
//! nothing else is. The socket is removed with the [`Control`], if it is still the same.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, UnixCredentials, bind,
    connect, listen, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Pid, Uid};
use pf::Pf;
use pf::kpi::{Caller, UserMemory};
use pf_abi::socket::{MAGIC, READ_ONLY, Reply, Request, VERSION};
use pf_abi::{errno, ioctl};
use tracing::{debug, warn};
use zerocopy::{FromBytes, IntoBytes};

use crate::memory::ProcessMemory;
use crate::stop::Stop;

/// The most connections at a time. Who comes then waits in the queue.
const MOST_PEERS: u32 = 64;
/// How long to wait where a connection cannot be taken because the system is short of something, in milliseconds.
const BREATH: u8 = 250;

/// The socket, listening.
#[derive(Debug)]
pub struct Control {
    /// std's listener does not mind that the socket keeps messages apart.
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode number, by which the socket is known again.
    identity: (u64, u64),
}

impl Control {
    /// Listens on a Unix socket at `path`.
    ///
    /// # Errors
    /// Somebody listens there already, something else is there, or the socket cannot be made.
    pub fn listen(path: &Path) -> Result<Self> {
        Self::open(path).with_context(|| format!("control socket {}", path.display()))
    }

    fn open(path: &Path) -> Result<Self> {
        let address = UnixAddr::new(path)?;
        let socket = new_socket()?;
        // Each message shall say who sent it. Connections inherit this.
        setsockopt(&socket, sockopt::PassCred, &true)?;
        // The socket file gets the descriptor's mode.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        match bind(socket.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) => {
                remove_abandoned(path, &address)?;
                bind(socket.as_raw_fd(), &address)
            }
            bound => bound,
        }
        .context("it cannot be made")?;
        let identity = identity(path)?;
        listen(&socket, Backlog::MAXCONN)?;
        let socket = UnixListener::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Control {
            socket,
            path: path.to_owned(),
            identity,
        })
    }

    /// Serves ioctls until it is time to stop.
    ///
    /// # Errors
    /// Those of poll(2) and eventfd(2). Nothing that a peer does is an error.
    pub fn serve(&self, pf: &Pf, stop: &Stop) -> nix::Result<()> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_SEMAPHORE;
        let places = EventFd::from_value_and_flags(MOST_PEERS, flags)?;
        let mut owner = 0;
        thread::scope(|scope| {
            while stop.wait(places.as_fd())? && stop.wait(self.socket.as_fd())? {
                let peer = match self.socket.accept() {
                    Ok((peer, _)) => OwnedFd::from(peer),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => {
                        warn!(%error, "a connection to the control socket could not be taken");
                        stop.sleep(PollTimeout::from(BREATH))?;
                        continue;
                    }
                };
                let place = Place::take(&places)?;
                owner += 1;
                let work = move || {
                    let _place = place;
                    while stop.wait(peer.as_fd()) == Ok(true) && serve_one(peer.as_fd(), owner, pf) {}
                    pf.close(owner);
                };
                if let Err(error) = thread::Builder::new().name("control".into()).spawn_scoped(scope, work) {
                    warn!(%error, "a connection to the control socket could not be served");
                }
            }
            Ok(())
        })
    }
}

/// One of the [`MOST_PEERS`] places, taken until this is dropped.
struct Place<'a>(&'a EventFd);

impl<'a> Place<'a> {
    fn take(places: &'a EventFd) -> nix::Result<Self> {
        places.read().map(|_| Place(places))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // The only failure is a counter that is full, and it never has more than it began with.
        let _ = self.0.write(1);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn!(path = %self.path.display(), %error, "the control socket cannot be removed");
        }
    }
}

fn new_socket() -> nix::Result<OwnedFd> {
    socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes a socket that nobody listens on: what a router leaves that was killed.
fn remove_abandoned(path: &Path, address: &UnixAddr) -> Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        bail!("there is a file of this name, which is no socket");
    }
    match connect(new_socket()?.as_raw_fd(), address) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).context("the old one cannot be removed"),
        Ok(()) | Err(Errno::EPROTOTYPE | Errno::EAGAIN) => bail!("somebody listens there already"),
        Err(error) => Err(error).context("it is not known whether somebody listens there"),
    }
}

/// Serves one request of a peer. False if the connection is to be closed: the peer is gone, or takes no replies.
fn serve_one(peer: BorrowedFd<'_>, owner: u64, pf: &Pf) -> bool {
    let mut bytes = [0; size_of::<Request>()];
    let mut control = cmsg_space!(UnixCredentials);
    let mut buffer = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = match recvmsg::<UnixAddr>(peer.as_raw_fd(), &mut buffer, Some(&mut control), flags) {
        Ok(message) => message,
        Err(error) => return matches!(error, Errno::EAGAIN | Errno::EINTR),
    };
    let sender = message.cmsgs().ok().and_then(|mut messages| {
        messages.find_map(|message| match message {
            ControlMessageOwned::ScmCredentials(sender) => Some(sender),
            _ => None,
        })
    });
    // The end of a connection says nothing about who has ended it; a message always does.
    let Some(sender) = sender else { return false };
    let whole = message.bytes == size_of::<Request>() && !message.flags.contains(MsgFlags::MSG_TRUNC);
    let number = match Request::read_from_bytes(&bytes) {
        Ok(request) if whole => answer(&request, &sender, owner, pf),
        _ => errno::EINVAL,
    };
    let reply = Reply::new(number);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    send(peer.as_raw_fd(), reply.as_bytes(), flags).is_ok()
}

/// Makes the ioctl that a request asks for. 0, or a NetBSD error number.
fn answer(request: &Request, sender: &UnixCredentials, owner: u64, pf: &Pf) -> i32 {
    let &Request {
        magic,
        version,
        cmd,
        arg_len,
        flags,
        arg_addr,
    } = request;
    let len = ioctl::size(cmd);
    if magic != MAGIC || version != VERSION || flags & !READ_ONLY != 0 || arg_len as usize != len {
        return errno::EINVAL;
    }
    // Who is in no process namespace that can be seen from here has no memory to read.
    if sender.pid() <= 0 {
        return errno::EPERM;
    }
    let privileged = sender.uid() == 0 || sender.uid() == Uid::effective().as_raw();
    let memory = UserMemory::new(ProcessMemory(Pid::from_raw(sender.pid())));
    let caller = Caller {
        writable: privileged && flags & READ_ONLY == 0,
        allowed: true,
        uid: sender.uid(),
        pid: sender.pid(),
        owner,
        memory: &memory,
    };
    // A kernel has its copy of an argument aligned for whatever is in it.
    let mut words = vec![0u64; len.div_ceil(size_of::<u64>())];
    let argument = &mut words.as_mut_bytes()[..len];
    let result = (|| {
        if ioctl::copies_in(cmd) {
            memory.copyin(arg_addr, argument)?;
        }
        pf.ioctl(&caller, cmd, argument)?;
        if ioctl::copies_out(cmd) {
            memory.copyout(argument, arg_addr)?;
        }
        Ok::<(), pf::kpi::Errno>(())
    })();
    let number = result.map_or_else(|errno| errno as i32, |()| 0);
    debug!(
        ioctl = ioctl::name(cmd).unwrap_or("unknown"),
        pid = caller.pid,
        uid = caller.uid,
        error = errno::text(number),
        "ioctl"
    );
    number
}
