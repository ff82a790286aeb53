//! A TUN device: packets that the kernel routes to it can be read here, and what is written here the kernel receives.
//!
//! # Life cycle
//! A device that exists already, made by `ip tuntap add mode tun`, is attached to, and stays when the router ends, with its
//! addresses and routes. One that does not exist is created, and goes with the router, however it ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::link::Link;
use crate::netns;
use crate::options::InterfaceSpec;

/// An open TUN device, which never blocks.
pub struct Tun {
    device: SyncDevice,
    mtu: u16,
}

impl Tun {
    /// Opens the device of `spec` in its namespace, gives it `mtu` if there is one, and brings it up.
    ///
    /// # Errors
    /// The namespace does not exist, /dev/net/tun cannot be opened, the device is another process's or no TUN device, or the MTU
    /// cannot be set or is too small for the interface's addresses.
    pub fn open(spec: &InterfaceSpec, mtu: Option<u16>) -> Result<Self> {
        let whole = || match &spec.netns {
            Some(netns) => format!("interface {} in network namespace {netns}", spec.name),
            None => format!("interface {}", spec.name),
        };
        let tun = netns::within(spec.netns.as_deref(), || Self::open_here(&spec.name, mtu)).with_context(whole)?;
        let least = spec.least_mtu();
        if tun.mtu < least {
            bail!(
                "{}: an MTU of {} is below the {least} bytes that its addresses need",
                whole(),
                tun.mtu
            );
        }
        Ok(tun)
    }

    fn open_here(name: &str, mtu: Option<u16>) -> Result<Self> {
        let mut builder = DeviceBuilder::new().name(name).enable(true);
        if let Some(mtu) = mtu {
            builder = builder.mtu(mtu);
        }
        let device = builder.build_sync().map_err(explain)?;
        device.set_nonblocking(true)?;
        let mtu = device.mtu().context("its MTU cannot be read")?;
        Ok(Tun { device, mtu })
    }

    /// The most bytes that a packet may have on it.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Reads one packet; none if there is none right now.
    ///
    /// # Errors
    /// Those of read(2): the device is gone.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.device.recv(buffer) {
            Ok(len) => Ok(Some(len)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// What the errors of /dev/net/tun mean to whoever started the router.
fn explain(error: io::Error) -> anyhow::Error {
    let meaning = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => "only root, or who has CAP_NET_ADMIN, may open TUN devices",
        Some(Errno::EBUSY) => "another process has it open",
        Some(Errno::EINVAL) => "there is an interface of this name that is not a TUN device of one queue",
        Some(Errno::ENOENT) => "there is no /dev/net/tun",
        _ => "it cannot be opened",
    };
    anyhow::Error::new(error).context(meaning)
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl Link for Tun {
    fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.device.send(packet).map(|_| ())
    }
}
