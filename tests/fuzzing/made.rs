//! Packets that are sound as such, of few enough hosts and ports that they meet each other's states.

use crate::common::packets::*;
use crate::input::Input;

const INSIDE: [&str; 7] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "192.0.2.1",
    "192.0.2.3",
    "192.0.2.9",
];
const OUTSIDE: [&str; 3] = ["198.51.100.7", "198.51.100.8", "198.51.100.9"];
const INSIDE_6: [&str; 4] = ["fd00::1", "fd00:0:0:1::5", "2001:db8::1", "2001:db8:1::5"];
const OUTSIDE_6: [&str; 2] = ["2001:db8:7::7", "2001:db8:7::8"];
const PORTS: [u16; 9] = [53, 65, 80, 81, 82, 1024, 1025, 1026, 1027];
const FLAGS: [u8; 8] = [SYN, SYN | ACK, ACK, ACK | PUSH, FIN | ACK, RST, RST | ACK, SYN | RST];

fn pick(input: &mut Input<'_>, of: &[&'static str]) -> &'static str {
    of[usize::from(input.u8()) % of.len()]
}

fn port(input: &mut Input<'_>) -> u16 {
    PORTS[usize::from(input.u8()) % PORTS.len()]
}

fn ends(input: &mut Input<'_>) -> Ip {
    let choice = input.u8();
    let made = match choice & 1 {
        0 => ip(pick(input, &INSIDE), pick(input, &OUTSIDE)),
        _ => ip(pick(input, &INSIDE_6), pick(input, &OUTSIDE_6)),
    };
    let made = match choice >> 1 & 7 {
        0 if choice & 1 == 0 => made.with_options(&[148, 4, 0, 0]),
        0 => made.with_extension(0, &[0, 0, 5, 2, 0, 0, 1, 0]),
        1 => made.with_fragment(u16::from(input.u8() % 12) * 8, choice >> 5 & 1 != 0),
        _ => made,
    };
    if choice >> 4 & 1 == 0 { made } else { made.back() }
}

/// A packet that the bytes describe.
pub(crate) fn packet(input: &mut Input<'_>) -> Vec<u8> {
    let ip = ends(input);
    let choice = input.u8();
    let (src, dst) = (port(input), port(input));
    let len = usize::from(input.u8()) & 127;
    match choice % 8 {
        0..=3 => {
            let flags = FLAGS[usize::from(choice >> 3) % FLAGS.len()];
            let numbers = input.u8();
            let (seq, ack) = (1000 + u32::from(numbers & 15), 1000 + u32::from(numbers >> 4));
            let segment = segment(src, dst, flags, seq, ack).with_window(4000).with_data(len);
            ip.tcp(&match choice >> 6 {
                0 => segment.with_stamps(u32::from(numbers), 0),
                1 => segment.with_scale(7),
                _ => segment,
            })
        }
        4 | 5 => ip.udp(src, dst, &vec![7; len]),
        6 => match choice >> 3 & 3 {
            0 => ip.ping(src),
            1 => ip.pong(src),
            2 => ip.error(&ip.back().udp(dst, src, b"?")),
            _ => ip.error(&ip.back().tcp(&segment(dst, src, ACK, 1001, 1001))),
        },
        _ => ip.packet(GRE, &vec![9; len]),
    }
}
