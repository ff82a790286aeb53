//! NetBSD's headers, as bindgen reads them (build.rs), and what Rust takes for granted about them.

#![allow(
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]

include!(concat!(env!("OUT_DIR"), "/netbsd.rs"));

/// What src/module.rs has to do with C: `kmod/pf.h`.
pub(crate) mod exports {
    pub(crate) use super::{
        EHOSTUNREACH, PFIL_IN, ifnet, mbuf, pf_address, pfk_hooks_attach, pfk_hooks_detach, pfk_interface_addresses,
        pfr_attach_interface, pfr_catch_up, pfr_close, pfr_detach_interface, pfr_hook, pfr_ioctl, pfr_is_running,
        pfr_load, pfr_purge, pfr_unload,
    };
}

// What a packet is read through, whatever else NetBSD adds to its structs.
const _: () = {
    use core::mem::{align_of, offset_of, size_of};
    assert!(offset_of!(mbuf, m_hdr) == 0);
    assert!(size_of::<mbuf>() == 512 && align_of::<mbuf>() == 8);
    // The data of a tag lies behind it.
    assert!(size_of::<m_tag>() == 16);
    assert!(size_of::<kmutex_t>() == 8);
};
