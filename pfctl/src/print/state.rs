//! States.

use super::addr::host_text;
use crate::resolve::Resolver;
use pf_abi::{
    NO_RULE, PF_OUT, PF_TCPS_PROXY_DST, PF_TCPS_PROXY_SRC, PF_WSCALE_MASK, PFOTHERS_NSTATES, PFSYNC_FLAG_NATSRCNODE,
    PFSYNC_FLAG_SRCNODE, PFUDPS_NSTATES, SyncHost, SyncPeer, SyncState, TCP_NSTATES, TCP_STATE_NAMES, UDP_STATE_NAMES,
    join_counter,
};
use std::fmt::Write as _;

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
/// `PFSTATE_NOSYNC` of [`SyncState::sync_flags`].
const NOSYNC: u8 = 0x01;

/// A state in one line or, with `verbosity` 1 and 2, in more.
pub fn state_text(state: &SyncState, resolver: &dyn Resolver, verbosity: u8) -> String {
    let outbound = state.direction == PF_OUT;
    let (src, dst) = if outbound {
        (&state.src, &state.dst)
    } else {
        (&state.dst, &state.src)
    };
    let arrow = if outbound { " -> " } else { " <- " };
    let host = |host: &SyncHost| host_text(&host.addr, host.port.get(), state.af);
    let mut out = state.ifname.as_str().unwrap_or("?").to_owned();
    match resolver.protocol_name(state.proto) {
        Some(name) => out.push_str(&format!(" {name} ")),
        None => out.push_str(&format!(" {} ", state.proto)),
    }
    if state.lan.addr != state.gwy.addr || state.lan.port != state.gwy.port {
        out.push_str(&host(&state.lan));
        out.push_str(arrow);
    }
    out.push_str(&host(&state.gwy));
    out.push_str(arrow);
    out.push_str(&host(&state.ext));
    let _ = writeln!(out, "       {}", levels_text(state.proto, src.state, dst.state));
    if verbosity >= 1 && state.proto == IPPROTO_TCP {
        let both_scale = src.wscale != 0 && dst.wscale != 0;
        let _ = writeln!(
            out,
            "   {}  {}",
            window_text(src, both_scale),
            window_text(dst, both_scale)
        );
    }
    if verbosity >= 1 {
        push_details(&mut out, state);
    }
    if verbosity >= 2 {
        let no_sync = if state.sync_flags & NOSYNC != 0 {
            " (no-sync)"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "   id: {:016x} creatorid: {:08x}{no_sync}",
            state.number(),
            u32::from_be(state.creatorid),
        );
    }
    out
}

/// How far both ends have come.
fn levels_text(proto: u8, src: u8, dst: u8) -> String {
    let name = |names: &[&str], level: u8| names.get(usize::from(level)).copied().unwrap_or("?").to_owned();
    if proto == IPPROTO_TCP {
        if src < TCP_NSTATES && dst < TCP_NSTATES {
            format!("{}:{}", name(&TCP_STATE_NAMES, src), name(&TCP_STATE_NAMES, dst))
        } else if src == PF_TCPS_PROXY_SRC || dst == PF_TCPS_PROXY_SRC {
            "PROXY:SRC".to_owned()
        } else if src == PF_TCPS_PROXY_DST || dst == PF_TCPS_PROXY_DST {
            "PROXY:DST".to_owned()
        } else {
            format!("<BAD STATE LEVELS {src}:{dst}>")
        }
    } else if (proto == IPPROTO_UDP && src < PFUDPS_NSTATES && dst < PFUDPS_NSTATES)
        || (proto != IPPROTO_ICMP && src < PFOTHERS_NSTATES && dst < PFOTHERS_NSTATES)
    {
        format!("{}:{}", name(&UDP_STATE_NAMES, src), name(&UDP_STATE_NAMES, dst))
    } else {
        format!("{src}:{dst}")
    }
}

fn window_text(peer: &SyncPeer, both_scale: bool) -> String {
    let size = peer.seqhi.wrapping_sub(peer.seqlo);
    let mut text = format!("[{} + {size}]", peer.seqlo);
    if peer.seqdiff != 0 {
        let _ = write!(text, "(+{})", peer.seqdiff);
    }
    if both_scale {
        let _ = write!(text, " wscale {}", peer.wscale & PF_WSCALE_MASK);
    }
    text
}

fn push_details(out: &mut String, state: &SyncState) {
    let [packets_out, packets_in] = state.packets.map(join_counter);
    let [bytes_out, bytes_in] = state.bytes.map(join_counter);
    let _ = write!(
        out,
        "   age {}, expires in {}, {packets_out}:{packets_in} pkts, {bytes_out}:{bytes_in} bytes",
        clock_text(state.creation),
        clock_text(state.expire),
    );
    if state.anchor != NO_RULE {
        let _ = write!(out, ", anchor {}", state.anchor);
    }
    if state.rule != NO_RULE {
        let _ = write!(out, ", rule {}", state.rule);
    }
    if state.sync_flags & PFSYNC_FLAG_SRCNODE != 0 {
        out.push_str(", source-track");
    }
    if state.sync_flags & PFSYNC_FLAG_NATSRCNODE != 0 {
        out.push_str(", sticky-address");
    }
    out.push('\n');
}

/// Seconds as hours, minutes and seconds.
fn clock_text(seconds: u32) -> String {
    let minutes = seconds / 60;
    format!("{:02}:{:02}:{:02}", minutes / 60, minutes % 60, seconds % 60)
}
