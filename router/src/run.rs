//! All of the router together: what is made in which order, which thread does what, and how it ends.
//!
//! # Life cycle
//! Signals are blocked first, so that one that comes early waits. Then the devices are opened, then the engine is made, and the
//! control socket last: who can connect finds a router that works. A thread for each interface receives, one moves the
//! clock and purges, one serves the socket, and the first one waits for signals. When it stops, all the others do, the
//! counters are logged, and the socket is removed.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, Scope, ScopedJoinHandle};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tracing::{error, info};

use crate::clock;
use crate::control::Control;
use crate::link::{Interface, Link, Links};
use crate::options::Options;
use crate::pflog::PacketLog;
use crate::router::Router;
use crate::stop::Stop;
use crate::table::{Position, Table};
use crate::tun::Tun;

/// The most packets that are received in one go, to be judged together.
const BURST: usize = 32;
/// The most bytes that an IP packet has, IPv6's header included.
const LONGEST: usize = 65_575;

/// Runs the router until a signal ends it.
///
/// # Errors
/// It cannot start: an interface, a route, the socket. Or a thread of it failed.
pub fn run(options: &Options) -> Result<()> {
    let signals = block_signals().context("signals cannot be blocked")?;
    let table = Table::new(&options.interfaces, &options.routes)?;
    let mut tuns = Vec::new();
    let mut interfaces = Vec::new();
    for spec in &options.interfaces {
        let tun = Arc::new(Tun::open(spec, spec.mtu.or(options.mtu))?);
        let addresses = spec.addresses.iter().map(|net| net.addr()).collect();
        let link: Arc<dyn Link> = Arc::clone(&tun) as _;
        interfaces.push(Interface::new(spec.name.clone(), addresses, tun.mtu(), link));
        info!(
            interface = spec.name,
            netns = spec.netns,
            mtu = tun.mtu(),
            addresses = ?spec.addresses,
            "interface"
        );
        tuns.push(tun);
    }
    let links = Arc::new(Links::new(interfaces, table));
    let packet_log = match &options.pflog {
        Some(path) => Some(Arc::new(PacketLog::open(path)?)),
        None => None,
    };
    let router = Router::new(Arc::clone(&links), options.icmp_rate, packet_log.clone())?;
    for (position, spec) in options.interfaces.iter().enumerate() {
        router.set_addresses(position, &spec.addresses)?;
    }
    let stop = Stop::new()?;
    let control = Control::listen(&options.socket)?;

    let outcome = thread::scope(|scope| {
        let (router, control, stop) = (&router, &control, &stop);
        let _guard = StopOnPanic(stop);
        let mut threads = Threads {
            scope,
            stop,
            started: Vec::new(),
        };
        let ended = (|| {
            threads.start("clock", move || Ok(clock::run(router, stop)?))?;
            for (position, tun) in tuns.iter().enumerate() {
                threads.start(&links.at(position).name, move || receive(router, position, tun, stop))?;
            }
            if let Some(log) = &packet_log {
                threads.start("pflog", move || Ok(log.run(stop)?))?;
            }
            threads.start("control", move || Ok(control.serve(router.pf(), stop)?))?;
            info!(socket = %options.socket.display(), "pf-router is up");
            wait_for_signals(&signals, &links, stop)
        })();
        ended.and(threads.finish())
    });
    links.log_counters();
    outcome
}

/// The router's threads, but for the first.
struct Threads<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    stop: &'scope Stop,
    started: Vec<ScopedJoinHandle<'scope, Result<()>>>,
}

impl<'scope> Threads<'scope, '_> {
    /// Starts a thread. One that fails ends the router: half of one is none.
    fn start(&mut self, name: &str, work: impl FnOnce() -> Result<()> + Send + 'scope) -> Result<()> {
        let stop = self.stop;
        let context = format!("thread {name}");
        let guarded = move || {
            let _guard = StopOnPanic(stop);
            work().context(context).inspect_err(|_| stop.request())
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn_scoped(self.scope, guarded)?;
        self.started.push(thread);
        Ok(())
    }

    /// Lets all threads end, and says which one failed first.
    fn finish(self) -> Result<()> {
        self.stop.request();
        let mut outcome = Ok(());
        for thread in self.started {
            outcome = outcome.and(thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))));
        }
        outcome
    }
}

/// Ends the router when the thread that has this panics.
struct StopOnPanic<'a>(&'a Stop);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.request();
        }
    }
}

/// Lets the signals that the router knows wait in a descriptor, for this thread and all that it starts.
fn block_signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1] {
        mask.add(signal);
    }
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Waits for a signal to end the router, or for a thread to fail.
fn wait_for_signals(signals: &SignalFd, links: &Links, stop: &Stop) -> Result<()> {
    while stop.wait(signals.as_fd())? {
        let Some(info) = signals.read_signal()? else { continue };
        match Signal::try_from(info.ssi_signo as i32) {
            Ok(Signal::SIGUSR1) => links.log_counters(),
            Ok(signal) => {
                info!(%signal, "pf-router ends");
                return Ok(());
            }
            Err(_) => (),
        }
    }
    Ok(())
}

/// Receives what comes from one interface, until it is time to stop or the interface is gone.
fn receive(router: &Router, position: Position, tun: &Tun, stop: &Stop) -> Result<()> {
    let mut buffer = vec![0; LONGEST];
    let mut packets = Vec::with_capacity(BURST);
    while stop.wait(tun.as_fd())? {
        let mut gone = None;
        while packets.len() < BURST {
            match tun.receive(&mut buffer) {
                Ok(Some(len)) => packets.push(buffer[..len].to_vec()),
                Ok(None) => break,
                Err(error) => {
                    gone = Some(error);
                    break;
                }
            }
        }
        router.receive(position, packets.drain(..));
        if let Some(error) = gone {
            // The others go on: their states are worth more than a clean end.
            error!(interface = router.links().at(position).name, %error, "the interface is gone");
            router.detach(position);
            break;
        }
    }
    Ok(())
}
