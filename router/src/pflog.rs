//! Logged packets as a pcapng file: what the pflog interfaces are on NetBSD, for tcpdump(8) and Wireshark.
//!
//! # Overview
//! Each packet that a rule logs is put into a queue, with its header (`struct pfloghdr`, LINKTYPE_PFLOG); a thread of its own writes what
//! is there, so that a slow disk or reader never holds up a packet. What does not fit into the queue is left out, and the next packet
//! of the file says how many were (`epb_dropcount`). A pflog interface is an interface of the file, from its first packet on.
//!
//! The place may be a FIFO: then packets go to whoever has opened it, as a file from its beginning, and are left out while nobody has.
//!
//! # Life cycle
//! [`PacketLog::open`] makes the file, or finds the FIFO; [`PacketLog::run`] writes until it is time to stop, and then what is left in the
//! queue of a file.
//!
//! # Locking
//! One lock around the queue, held while a packet is put in or all are taken out.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::mem::take;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{DataLink, PcapError};
use pf::kpi::Mbuf;
use pf_abi::{LogHeader, PFLOGIFS_MAX};
use tracing::{info, warn};
use zerocopy::IntoBytes;

use crate::stop::Stop;

/// The most bytes that wait to be written.
const MOST_WAITING: usize = 4 << 20;
/// Bytes that a packet costs beside its own.
const OVERHEAD: usize = 64;
/// The most that is shown of a packet, its header included: all of it.
const SNAPLEN: u32 = 262_144;

/// A packet that waits to be written.
#[derive(Debug)]
struct Logged {
    /// The pflog interface.
    number: u8,
    /// When, since 1970.
    time: Duration,
    /// Header and packet.
    bytes: Vec<u8>,
    /// Packets that were left out before this one.
    missed: u64,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Logged>,
    /// Bytes in all of them.
    bytes: usize,
    /// Packets left out since the last that found room.
    missed: u64,
}

/// Where logged packets go.
#[derive(Debug)]
pub struct PacketLog {
    path: PathBuf,
    is_fifo: bool,
    /// The file, until it is written to. A FIFO is opened when there is something to write.
    file: Mutex<Option<File>>,
    queue: Mutex<Queue>,
    /// Readable while something waits.
    ready: EventFd,
}

impl PacketLog {
    /// Makes the file at `path`, with mode 0600, in the place of what was there; or takes the FIFO that is there.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(path: &Path) -> Result<Self> {
        let is_fifo = path.metadata().is_ok_and(|there| there.file_type().is_fifo());
        let file = if is_fifo { None } else { Some(create(path)?) };
        Ok(PacketLog {
            path: path.to_owned(),
            is_fifo,
            file: Mutex::new(file),
            queue: Mutex::default(),
            ready: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        })
    }

    /// Takes a packet that was logged on pflog interface `number`. Never waits for whoever reads.
    pub fn put(&self, number: u8, header: &LogHeader, packet: &Mbuf) {
        let cost = packet.len() + OVERHEAD;
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.bytes + cost > MOST_WAITING {
            queue.missed += 1;
            return;
        }
        let mut bytes = Vec::with_capacity(size_of::<LogHeader>() + packet.len());
        bytes.extend_from_slice(header.as_bytes());
        packet.visit(0, packet.len(), |part| bytes.extend_from_slice(part));
        let missed = take(&mut queue.missed);
        queue.bytes += cost;
        queue.waiting.push_back(Logged {
            number,
            time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            bytes,
            missed,
        });
        drop(queue);
        // The only failure is a counter that is full, and so readable already.
        let _ = self.ready.write(1);
    }

    /// All that waits.
    fn take(&self) -> VecDeque<Logged> {
        let _ = self.ready.read();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.bytes = 0;
        take(&mut queue.waiting)
    }

    /// Writes what comes, until it is time to stop.
    ///
    /// # Errors
    /// Those of poll(2). A file that cannot be written to is given up, with a word in the log, and the router goes on.
    pub fn run(&self, stop: &Stop) -> nix::Result<()> {
        let mut target = Target {
            log: self,
            stop,
            stream: None,
            missed: 0,
        };
        loop {
            let goes_on = target.wait()?;
            // What a stop leaves in the queue is still written.
            if let Err(error) = target.write(self.take()) {
                warn!(path = %self.path.display(), %error, "logged packets can no longer be written");
                while stop.wait(self.ready.as_fd())? {
                    self.take();
                }
                return Ok(());
            }
            if !goes_on {
                return Ok(());
            }
        }
    }
}

fn create(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .with_context(|| format!("log of packets {}", path.display()))
}

/// A file that is being written, and which pflog interfaces it has.
struct Stream<'a> {
    writer: PcapNgWriter<BufWriter<Output<'a>>>,
    /// By the number of the pflog interface, the one in the file.
    interfaces: [Option<u32>; PFLOGIFS_MAX as usize],
    count: u32,
}

/// Where it all goes.
struct Target<'a> {
    log: &'a PacketLog,
    stop: &'a Stop,
    stream: Option<Stream<'a>>,
    /// Packets left out because nobody read.
    missed: u64,
}

impl<'a> Target<'a> {
    /// Waits until there is something to write, or it is time to stop: then false. Meanwhile the reader of a FIFO may go, and that is not
    /// left to be seen at the next packet: whoever reads next would get the rest of a file.
    fn wait(&mut self) -> nix::Result<bool> {
        let ready = self.log.ready.as_fd();
        let Some(stream) = self.stream.as_ref().filter(|_| self.log.is_fifo) else {
            return self.stop.wait(ready);
        };
        let fifo = stream.writer.get_ref().get_ref().file.as_fd();
        let (goes_on, is_unread) = self.stop.wait_or_unread(ready, fifo)?;
        if is_unread {
            self.leave();
        }
        Ok(goes_on)
    }

    fn write(&mut self, packets: VecDeque<Logged>) -> Result<(), PcapError> {
        for packet in packets {
            if self.stream.is_none() {
                self.stream = self.open()?;
            }
            let Some(stream) = &mut self.stream else {
                self.missed += 1 + packet.missed;
                continue;
            };
            let missed = take(&mut self.missed) + packet.missed;
            if let Err(error) = stream.write(packet, missed) {
                self.lost(error)?;
                self.missed = missed + 1;
            }
        }
        let flushed = self.stream.as_mut().map(|stream| stream.writer.get_mut().flush());
        match flushed {
            Some(Err(error)) => self.lost(PcapError::IoError(error)),
            _ => Ok(()),
        }
    }

    /// Begins the file. Nothing, where it is a FIFO that nobody reads.
    fn open(&self) -> Result<Option<Stream<'a>>, PcapError> {
        let file = match self.log.file.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(file) => file,
            None => {
                let mut options = File::options();
                options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
                match options.open(&self.log.path) {
                    Ok(file) => file,
                    Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32) => return Ok(None),
                    Err(error) => return Err(PcapError::IoError(error)),
                }
            }
        };
        let output = BufWriter::new(Output { file, stop: self.stop });
        let mut stream = Stream {
            writer: PcapNgWriter::new(output)?,
            interfaces: [None; PFLOGIFS_MAX as usize],
            count: 0,
        };
        stream.interface(0)?;
        Ok(Some(stream))
    }

    /// A reader of a FIFO that has gone is no error.
    fn lost(&mut self, error: PcapError) -> Result<(), PcapError> {
        match error {
            PcapError::IoError(error) if self.log.is_fifo && error.kind() == ErrorKind::BrokenPipe => {
                self.leave();
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Ends the file of a reader that has gone.
    fn leave(&mut self) {
        info!(path = %self.log.path.display(), "nobody reads the logged packets any more");
        // What is in the buffer cannot be written either.
        if let Some(stream) = self.stream.take() {
            let _ = stream.writer.into_inner().into_parts();
        }
    }
}

impl Stream<'_> {
    /// The number that a pflog interface has in the file.
    fn interface(&mut self, number: u8) -> Result<u32, PcapError> {
        let at = usize::from(number.min(PFLOGIFS_MAX - 1));
        if let Some(of) = self.interfaces[at] {
            return Ok(of);
        }
        let block = InterfaceDescriptionBlock {
            linktype: DataLink::PFLOG,
            snaplen: SNAPLEN,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Owned(format!("pflog{at}"))),
                // Nanoseconds.
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        };
        self.writer.write_pcapng_block(block)?;
        let of = self.count;
        self.interfaces[at] = Some(of);
        self.count += 1;
        Ok(of)
    }

    fn write(&mut self, packet: Logged, missed: u64) -> Result<(), PcapError> {
        let block = EnhancedPacketBlock {
            interface_id: self.interface(packet.number)?,
            timestamp: packet.time,
            original_len: packet.bytes.len() as u32,
            data: Cow::Owned(packet.bytes),
            options: match missed {
                0 => vec![],
                missed => vec![EnhancedPacketOption::DropCount(missed)],
            },
        };
        self.writer.write_pcapng_block(block).map(drop)
    }
}

/// The file, or the FIFO, whose reader may take its time, but not once it is time to stop.
struct Output<'a> {
    file: File,
    stop: &'a Stop,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if !self.stop.wait_writable(self.file.as_fd())? {
                        return Err(ErrorKind::BrokenPipe.into());
                    }
                }
                done => return done,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
