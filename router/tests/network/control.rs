//! The control socket, as a caller meets it who may be anybody.

use std::fs;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, sendmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use pf_abi::socket::{MAGIC, READ_ONLY, Reply, Request, VERSION};
use pf_abi::{errno, ioctl};
use zerocopy::{FromBytes, IntoBytes};

use crate::harness::*;

/// A connection to a router's control socket.
struct Peer(OwnedFd);

impl Peer {
    fn connect(path: &Path) -> Self {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(
            &fd,
            sockopt::ReceiveTimeout,
            &TimeVal::seconds(PATIENCE.as_secs() as i64),
        )
        .unwrap();
        connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
        Peer(fd)
    }

    fn send(&self, bytes: &[u8]) {
        send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    fn reply(&self) -> i32 {
        let mut reply = Reply::default();
        let len = again(|| recv(self.0.as_raw_fd(), reply.as_mut_bytes(), MsgFlags::empty())).unwrap();
        assert_eq!(len, size_of::<Reply>());
        assert!(reply.is_valid());
        reply.errno
    }

    fn ask(&self, bytes: &[u8]) -> i32 {
        self.send(bytes);
        self.reply()
    }

    /// An ioctl whose argument are these bytes.
    fn ioctl(&self, cmd: u64, argument: &mut [u8], flags: u32) -> i32 {
        self.ask(Request::new(cmd, argument.as_mut_ptr().expose_provenance() as u64, flags).as_bytes())
    }

    /// The same, with the word of a privileged process that user `uid` sends it.
    fn ioctl_as(&self, uid: u32, cmd: u64) -> i32 {
        let sender = libc::ucred {
            pid: std::process::id() as i32,
            uid,
            gid: uid,
        };
        let request = Request::new(cmd, 0, 0);
        sendmsg::<()>(
            self.0.as_raw_fd(),
            &[IoSlice::new(request.as_bytes())],
            &[ControlMessage::ScmCredentials(&sender.into())],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .unwrap();
        self.reply()
    }
}

/// DIOCGETTIMEOUT, whose argument is two numbers: which timeout, and its seconds.
fn get_timeout(peer: &Peer, which: i32) -> Result<i32, i32> {
    let mut argument = [which.to_ne_bytes(), [0xff; 4]].concat();
    match peer.ioctl(ioctl::DIOCGETTIMEOUT, &mut argument, 0) {
        0 => Ok(i32::from_ne_bytes(argument[4..].try_into().unwrap())),
        errno => Err(errno),
    }
}

#[test]
fn the_socket_is_its_owners_alone() {
    let network = Network::new();
    let _router = network.router();
    let metadata = fs::metadata(network.socket()).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert_eq!(metadata.uid(), 0);
}

#[test]
fn an_ioctl_reads_and_writes_the_callers_memory() {
    let network = Network::new();
    let _router = network.router();
    let peer = Peer::connect(&network.socket());
    // The time that an established TCP connection may be idle: a day.
    assert_eq!(get_timeout(&peer, 2), Ok(86_400));
    let mut argument = [2i32.to_ne_bytes(), 3600i32.to_ne_bytes()].concat();
    assert_eq!(peer.ioctl(ioctl::DIOCSETTIMEOUT, &mut argument, 0), 0);
    assert_eq!(
        i32::from_ne_bytes(argument[4..].try_into().unwrap()),
        86_400,
        "it hands out what was before"
    );
    assert_eq!(get_timeout(&peer, 2), Ok(3600));
    assert_eq!(get_timeout(&peer, 12345), Err(errno::EINVAL));
}

#[test]
fn starting_twice_is_an_error_as_on_netbsd() {
    let network = Network::new();
    let _router = network.router();
    let peer = Peer::connect(&network.socket());
    assert_eq!(peer.ioctl(ioctl::DIOCSTART, &mut [], 0), 0);
    assert_eq!(peer.ioctl(ioctl::DIOCSTART, &mut [], 0), errno::EEXIST);
    assert_eq!(peer.ioctl(ioctl::DIOCSTOP, &mut [], 0), 0);
    assert_eq!(peer.ioctl(ioctl::DIOCSTOP, &mut [], 0), errno::ENOENT);
}

#[test]
fn who_opens_for_reading_changes_nothing() {
    let network = Network::new();
    let _router = network.router();
    let peer = Peer::connect(&network.socket());
    assert_eq!(peer.ioctl(ioctl::DIOCSTART, &mut [], READ_ONLY), errno::EACCES);
    assert_eq!(get_timeout(&peer, 2), Ok(86_400));
}

#[test]
fn nobody_but_root_and_the_routers_own_user_changes_anything() {
    let network = Network::new();
    let _router = network.router();
    let peer = Peer::connect(&network.socket());
    assert_eq!(peer.ioctl_as(65_534, ioctl::DIOCSTART), errno::EACCES);
    assert_eq!(peer.ioctl_as(0, ioctl::DIOCSTART), 0);
}

#[test]
fn garbage_gets_an_error_and_hurts_nobody() {
    let network = Network::new();
    let _router = network.router();
    let peer = Peer::connect(&network.socket());
    let good = Request::new(ioctl::DIOCGETTIMEOUT, 0, 0);
    let long = [good.as_bytes(), &[0]].concat();
    for bytes in [&b""[..], b"x", &[0xff; 32], &[0; 4000], &good.as_bytes()[..31], &long] {
        assert_eq!(peer.ask(bytes), errno::EINVAL, "{} bytes", bytes.len());
    }
    for wrong in [
        Request {
            magic: MAGIC + 1,
            ..good
        },
        Request {
            version: VERSION + 1,
            ..good
        },
        Request { flags: 2, ..good },
        Request { arg_len: 7, ..good },
        Request {
            arg_len: u32::MAX,
            ..good
        },
    ] {
        assert_eq!(peer.ask(wrong.as_bytes()), errno::EINVAL, "{wrong:?}");
    }
    for address in [0, 1, u64::MAX, u64::MAX - 4, 1 << 63] {
        let request = Request {
            arg_addr: address,
            ..good
        };
        assert_eq!(peer.ask(request.as_bytes()), errno::EFAULT, "{address:#x}");
    }
    let unknown = ioctl::DIOCSTART | 0xff;
    assert_eq!(ioctl::name(unknown), None);
    assert!(matches!(peer.ioctl(unknown, &mut [], 0), errno::ENOTTY | errno::ENODEV));
    // The same connection goes on.
    assert_eq!(get_timeout(&peer, 2), Ok(86_400));
}

#[test]
fn an_argument_that_cannot_be_written_is_efault() {
    static CONSTANT: [i32; 2] = [2, 0];
    let network = Network::new();
    let _router = network.router();
    let peer = Peer::connect(&network.socket());
    let request = Request::new(ioctl::DIOCGETTIMEOUT, CONSTANT.as_ptr().expose_provenance() as u64, 0);
    assert_eq!(peer.ask(request.as_bytes()), errno::EFAULT);
}

#[test]
fn peers_that_vanish_hurt_nobody() {
    let network = Network::new();
    let _router = network.router();
    // More of them than are served at a time, some with a request under way, some with half of one.
    let crowd: Vec<Peer> = (0..100).map(|_| Peer::connect(&network.socket())).collect();
    for (i, peer) in crowd.iter().enumerate() {
        match i % 3 {
            0 => peer.send(Request::new(ioctl::DIOCGETTIMEOUT, 8, 0).as_bytes()),
            1 => peer.send(b"half"),
            _ => (),
        }
    }
    drop(crowd);
    let peer = Peer::connect(&network.socket());
    assert_eq!(get_timeout(&peer, 2), Ok(86_400));
}

#[test]
fn who_never_takes_a_reply_is_left() {
    let network = Network::new();
    let _router = network.router();
    let deaf = Peer::connect(&network.socket());
    let request = Request::new(ioctl::DIOCGETTIMEOUT, 8, 0);
    // Until the router closes, because it cannot send, or this side's own queue is full, because the router does not read.
    let closed = (0..100_000).any(|_| send(deaf.0.as_raw_fd(), request.as_bytes(), MsgFlags::MSG_NOSIGNAL).is_err());
    assert!(closed);
    let peer = Peer::connect(&network.socket());
    assert_eq!(get_timeout(&peer, 2), Ok(86_400));
}

#[test]
fn an_inherited_connection_serves_who_uses_it() {
    // The child has the same descriptor and other memory: its own. cat(1) sends the request of this process, in which
    // the address leads somewhere else, if anywhere.
    let network = Network::new();
    let _router = network.router();
    let peer = Peer::connect(&network.socket());
    let mut argument = [2i32.to_ne_bytes(), [0xff; 4]].concat();
    let request = Request::new(
        ioctl::DIOCGETTIMEOUT,
        argument.as_mut_ptr().expose_provenance() as u64,
        0,
    );
    let file = network.socket().with_file_name("request");
    fs::write(&file, request.as_bytes()).unwrap();
    let status = Command::new("cat")
        .arg(&file)
        .stdout(peer.0.try_clone().unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(peer.reply(), errno::EFAULT);
    assert_eq!(argument[4..], [0xff; 4], "this process's memory is untouched");
    assert!(Reply::read_from_bytes(&[0; 16]).is_ok_and(|reply| !reply.is_valid()));
}
