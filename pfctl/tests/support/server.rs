//! A pf-router that is only its socket: it serves ioctls with a pf in memory, and reads and writes its callers' memory.

use super::fake::FakePf;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, recv, send, socket,
    sockopt::PeerCredentials,
};
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use pf_abi::socket::{READ_ONLY, Reply, Request};
use pf_abi::{IocTable, SyncState, errno, ioctl};
use pfctl::device::{Buffer, Device as _, Failure};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// A server, as long as it is not dropped.
pub(crate) struct Server {
    directory: TempDir,
    pub(crate) pf: Arc<Mutex<FakePf>>,
    /// Whether each request so far came from one who only reads.
    pub(crate) read_only: Arc<Mutex<Vec<bool>>>,
}

impl Server {
    /// Serves a pf in memory.
    pub(crate) fn start(pf: FakePf) -> Self {
        let server = Self {
            directory: tempfile::tempdir().unwrap(),
            pf: Arc::new(Mutex::new(pf)),
            read_only: Arc::default(),
        };
        let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&server.socket()).unwrap()).unwrap();
        listen(&listener, Backlog::new(5).unwrap()).unwrap();
        let (pf, read_only) = (Arc::clone(&server.pf), Arc::clone(&server.read_only));
        // Ends with the process: it waits for callers until then.
        std::thread::spawn(move || {
            // What the standard library knows of sockets does for packets as well as for streams.
            let listener = UnixListener::from(listener);
            while let Ok((connection, _)) = listener.accept() {
                serve(&connection.into(), &pf, &read_only);
            }
        });
        server
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("pf.sock")
    }

    /// A directory for files.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

fn serve(connection: &OwnedFd, pf: &Mutex<FakePf>, read_only: &Mutex<Vec<bool>>) {
    let peer = Pid::from_raw(getsockopt(connection, PeerCredentials).unwrap().pid());
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = recv(connection.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
        let request = Request::read_from_bytes(&bytes[..length]).unwrap();
        assert_eq!(request.magic, pf_abi::socket::MAGIC);
        assert_eq!(request.arg_len as usize, ioctl::size(request.cmd));
        read_only.lock().unwrap().push(request.flags & READ_ONLY != 0);
        let outcome = answer(&request, peer, &mut pf.lock().unwrap());
        let reply = Reply::new(outcome.err().unwrap_or(0));
        send(connection.as_raw_fd(), reply.as_bytes(), MsgFlags::MSG_NOSIGNAL).unwrap();
    }
}

fn answer(request: &Request, peer: Pid, pf: &mut FakePf) -> Result<(), i32> {
    let mut argument = read(peer, request.arg_addr, request.arg_len as usize)?;
    let pointer = pointer(request.cmd, &argument);
    let mut memory = Vec::new();
    let mut buffer = None;
    if let Some((at, length)) = pointer {
        let address = u64::from_le_bytes(argument[at..at + 8].try_into().unwrap());
        memory = read(peer, address, length)?;
        buffer = Some((at, address));
    }
    pf.ioctl(
        request.cmd,
        &mut argument,
        buffer.map(|(pointer_at, _)| Buffer {
            pointer_at,
            bytes: &mut memory,
        }),
    )
    .map_err(|failure| match failure {
        Failure::Refused(number) => number.0,
        Failure::Io(_) => errno::EIO,
    })?;
    if let Some((_, address)) = buffer {
        write(peer, address, &memory)?;
    }
    if ioctl::copies_out(request.cmd) {
        write(peer, request.arg_addr, &argument)?;
    }
    Ok(())
}

/// Where an argument has a pointer, and to how many bytes.
fn pointer(cmd: u64, argument: &[u8]) -> Option<(usize, usize)> {
    let number = |at: usize| u32::from_le_bytes(argument[at..at + 4].try_into().unwrap()) as usize;
    match cmd {
        pf_abi::DIOCGETSTATES | pf_abi::DIOCADDSTATES => Some((8, number(0))),
        pf_abi::DIOCBGETSTATES | pf_abi::DIOCBADDSTATES => Some((32, number(16) * size_of::<SyncState>())),
        pf_abi::DIOCADDSTATE => Some((8, size_of::<SyncState>())),
        pf_abi::DIOCXBEGIN | pf_abi::DIOCXCOMMIT | pf_abi::DIOCXROLLBACK => Some((8, number(0) * number(4))),
        pf_abi::DIOCIGETIFACES => Some((16, number(24) * number(28))),
        _ if ioctl::size(cmd) == size_of::<IocTable>() => {
            let deleted = if cmd == pf_abi::DIOCRSETADDRS { number(1080) } else { 0 };
            Some((1064, number(1072) * number(1076).max(deleted)))
        }
        _ => None,
    }
}

fn read(peer: Pid, address: u64, length: usize) -> Result<Vec<u8>, i32> {
    let mut bytes = vec![0; length];
    let remote = RemoteIoVec {
        base: address as usize,
        len: length,
    };
    match length {
        0 => Ok(bytes),
        _ => match process_vm_readv(peer, &mut [IoSliceMut::new(&mut bytes)], &[remote]) {
            Ok(read) if read == length => Ok(bytes),
            _ => Err(errno::EFAULT),
        },
    }
}

fn write(peer: Pid, address: u64, bytes: &[u8]) -> Result<(), i32> {
    let remote = RemoteIoVec {
        base: address as usize,
        len: bytes.len(),
    };
    match bytes.len() {
        0 => Ok(()),
        length => match process_vm_writev(peer, &[IoSlice::new(bytes)], &[remote]) {
            Ok(written) if written == length => Ok(()),
            _ => Err(errno::EFAULT),
        },
    }
}
