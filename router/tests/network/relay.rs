//! A link that loses, repeats and reorders what a test tells it to, without a queue discipline of the kernel's: packets between the
//! client and the router pass through this process.
//!
//! ```text
//!  client's stack ─ lan0 ▷ relay ◁ pipe0 ─ a namespace that forwards ─ lan0 ▷ pf-router
//! ```

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use pf_router::link::Link;
use pf_router::options::InterfaceSpec;
use pf_router::stop::Stop;
use pf_router::tun::Tun;

use crate::harness::*;

/// What becomes of a packet: those that go on in its place.
pub(crate) trait Fate: FnMut(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static {}

impl<F: FnMut(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static> Fate for F {}

/// The link, as long as it is there.
pub(crate) struct Relay {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
    /// Where the router's end is.
    _wire: Namespace,
}

impl Relay {
    /// Puts itself between the client of a network and a new router.
    pub(crate) fn with_router(network: &Network, to_router: impl Fate, to_client: impl Fate) -> (Self, Router) {
        let wire = Namespace::new();
        wire.sysctl("net.ipv4.ip_forward", "1");
        wire.sysctl("net.ipv6.conf.all.forwarding", "1");
        wire.ip("tuntap add dev lan0 mode tun");
        wire.ip("link set lan0 up");
        wire.ip("tuntap add dev pipe0 mode tun");
        let open = |name: &str, namespace: &Namespace| {
            let spec: InterfaceSpec = format!("{name},netns={}", namespace.path()).parse().unwrap();
            Arc::new(Tun::open(&spec, Some(1500)).unwrap())
        };
        let (near, far) = (open("lan0", &network.client), open("pipe0", &wire));
        for (net, device) in [(CLIENT_V4, "pipe0"), ("default", "lan0")] {
            wire.ip(&format!("route add {net} dev {device}"));
        }
        for (net, device) in [(CLIENT_V6, "pipe0"), ("default", "lan0")] {
            wire.ip(&format!("-6 route add {net} dev {device}"));
        }
        let stop = Arc::new(Stop::new().unwrap());
        let threads = vec![
            start(&stop, &near, &far, to_router),
            start(&stop, &far, &near, to_client),
        ];
        let mut arguments = network.arguments();
        arguments[0] = format!(
            "--interface=lan0,netns={},address={LAN_V4}/24,address={LAN_V6}/64",
            wire.path()
        );
        let router = network.router_with(&arguments);
        for device in ["lan0", "pipe0"] {
            wire.wait_for_link(device);
        }
        let relay = Relay {
            stop,
            threads,
            _wire: wire,
        };
        (relay, router)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.request();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn start(stop: &Arc<Stop>, from: &Arc<Tun>, to: &Arc<Tun>, mut fate: impl Fate) -> JoinHandle<()> {
    let (stop, from, to) = (Arc::clone(stop), Arc::clone(from), Arc::clone(to));
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while stop.wait(from.as_fd()).unwrap() {
            while let Some(len) = from.receive(&mut buffer).unwrap() {
                for packet in fate(buffer[..len].to_vec()) {
                    to.send(&packet).unwrap();
                }
            }
        }
    })
}
