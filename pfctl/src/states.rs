//! States and source nodes by their addresses.

use crate::conf::expand::mask_of;
use crate::device::{IoctlError, Pf};
use crate::resolve::Resolver;
use pf_abi::{AF_INET, AF_INET6, Addr, AddrWrap, IfName, IocSrcNodeKill, IocStateKill};
use std::net::IpAddr;

/// What `-k` says: a host, an address, or a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends(Vec<(IpAddr, u8)>);

/// A host of `-k` that means nothing.
#[derive(Debug, thiserror::Error)]
pub enum EndsError {
    /// The mask is no number, or longer than the address.
    #[error("{0}: the mask must be a number, at most 32 for IPv4 and 128 for IPv6")]
    Mask(String),
    /// A mask with a name.
    #[error("{0}: only a numeric address can have a mask")]
    MaskedName(String),
    /// The host cannot be looked up.
    #[error("{0}: no address found")]
    Unknown(String),
}

impl Ends {
    /// Looks up what `-k` says.
    pub fn parse(text: &str, resolver: &dyn Resolver) -> Result<Self, EndsError> {
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| EndsError::MaskedName(text.to_owned()))?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            return match bits.parse() {
                Ok(bits) if bits <= longest => Ok(Self(vec![(address, bits)])),
                _ => Err(EndsError::Mask(text.to_owned())),
            };
        }
        let addresses = match text.parse() {
            Ok(address) => vec![address],
            Err(_) => resolver.host(text).unwrap_or_default(),
        };
        if addresses.is_empty() {
            return Err(EndsError::Unknown(text.to_owned()));
        }
        Ok(Self(addresses.into_iter().map(|address| (address, 128)).collect()))
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// States, or source nodes.
    pub states: u32,
    /// Sources asked for.
    pub sources: u32,
    /// Destinations asked for, of the last source.
    pub destinations: u32,
}

fn wrap((address, bits): (IpAddr, u8)) -> AddrWrap {
    let mut wrap = AddrWrap::masked(Addr::from(address), mask_of(bits));
    crate::conf::expand::apply_mask(&mut wrap);
    wrap
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

/// Removes the states from one end, and to the other if it is given.
pub fn kill(pf: &mut Pf<'_>, from: &Ends, to: Option<&Ends>, ifname: IfName) -> Result<Killed, IoctlError> {
    kill_each(from, to, |af, src, dst| {
        let mut argument = IocStateKill {
            af,
            ifname,
            ..IocStateKill::default()
        };
        argument.src.addr = src;
        argument.dst.addr = dst;
        pf.kill_states(&mut argument)
    })
}

/// Removes the source nodes of one end, or of them those that were given an address of the other.
pub fn kill_sources(pf: &mut Pf<'_>, from: &Ends, to: Option<&Ends>) -> Result<Killed, IoctlError> {
    kill_each(from, to, |af, src, dst| {
        let mut argument = IocSrcNodeKill {
            af,
            ..IocSrcNodeKill::default()
        };
        argument.src.addr = src;
        argument.dst.addr = dst;
        pf.kill_sources(&mut argument)
    })
}

/// Removes what goes from one end to the other, by each pair of addresses.
fn kill_each(
    from: &Ends,
    to: Option<&Ends>,
    mut kill: impl FnMut(u8, AddrWrap, AddrWrap) -> Result<u8, IoctlError>,
) -> Result<Killed, IoctlError> {
    let mut killed = Killed::default();
    for &source in &from.0 {
        killed.sources += 1;
        let af = family(source.0);
        let Some(to) = to else {
            killed.states += u32::from(kill(af, wrap(source), AddrWrap::any())?);
            continue;
        };
        killed.destinations = 0;
        for &destination in &to.0 {
            if family(destination.0) != af {
                continue;
            }
            killed.destinations += 1;
            killed.states += u32::from(kill(af, wrap(source), wrap(destination))?);
        }
    }
    Ok(killed)
}
