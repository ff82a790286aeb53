//! ioctls over a Unix socket: how pfctl(8) talks to pf-router, which has no `/dev/pf`.
//!
//! The socket is of type `SOCK_SEQPACKET`: one message is one [`Request`] or one [`Reply`], whole. A client sends a request,
//! waits for its reply, and may then send the next. The argument does not travel: the request says where it lies in
//! the client's own memory, and the server reads and writes it there, and whatever pointers it holds, with
//! `process_vm_readv(2)` and `process_vm_writev(2)` on the peer's process (`SO_PEERCRED`), as a kernel does with copyin(9)
//! and copyout(9). So an argument has the same bytes, pointers included, as for ioctl(2) on `/dev/pf`.
//!
//! Like ioctl(2), the server reads [`crate::ioctl::size`] bytes of argument where the number says that it copies in, and
//! writes them back, only on success, where it copies out.
//!
//! The server refuses, with an error number and never by silence, a request of another size, magic or version, with
//! flags it does not know, or whose `arg_len` is not what the number says. It closes the connection only at its end.

c_struct! {
    /// From the client.
    #[derive(Copy)]
    pub struct Request {
        /// [`MAGIC`]
        pub magic: u32,
        /// [`VERSION`]
        pub version: u32,
        /// The ioctl's number, `DIOC*`.
        pub cmd: u64,
        /// Bytes of the argument: [`crate::ioctl::size`] of `cmd`.
        pub arg_len: u32,
        /// [`READ_ONLY`], or 0.
        pub flags: u32,
        /// Where the argument lies in the client's memory; 0 where there is none.
        pub arg_addr: u64,
    }

    /// From the server.
    #[derive(Copy)]
    pub struct Reply {
        /// [`MAGIC`]
        pub magic: u32,
        /// [`VERSION`]
        pub version: u32,
        /// 0, or the number of an error as NetBSD counts: [`crate::errno`].
        pub errno: i32,
        #[doc(hidden)]
        pub _pad0: [u8; 4],
    }
}

/// "pfio", first byte first.
pub const MAGIC: u32 = u32::from_le_bytes(*b"pfio");
/// The version of this protocol.
pub const VERSION: u32 = 1;
/// The client asks to be treated as one who has opened `/dev/pf` for reading only.
pub const READ_ONLY: u32 = 1;

impl Request {
    /// A request for an ioctl whose argument lies at `arg_addr` of the client's memory.
    pub fn new(cmd: u64, arg_addr: u64, flags: u32) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            cmd,
            arg_len: crate::ioctl::size(cmd) as u32,
            flags,
            arg_addr,
        }
    }
}

impl Reply {
    /// A reply with an error number, 0 for success.
    pub fn new(errno: i32) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            errno,
            ..Self::default()
        }
    }

    /// Whether the reply is one of this protocol and version.
    pub fn is_valid(&self) -> bool {
        self.magic == MAGIC && self.version == VERSION
    }
}
