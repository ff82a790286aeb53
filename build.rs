//! For the NetBSD module alone (feature `kmod`): compiles the C half and binds the kernel's headers. Elsewhere it
//! does nothing.
//!
//! `PF_NETBSD_CFLAGS` says which kernel: the preprocessor's flags, include paths and `__NetBSD_Version__` among
//! them. scripts/build-kmod sets it. Both clang and libclang are given the same, so that what Rust knows of a C
//! struct is what the kernel's own header says, and bindgen's assertions fail the build where Rust would lay it out
//! differently.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "kmod")]
    kmod::build();
}

#[cfg(feature = "kmod")]
mod kmod {
    use std::env;
    use std::path::PathBuf;

    const SOURCES: [&str; 9] = [
        "cpu",
        "device",
        "hook",
        "interface",
        "lookup",
        "module",
        "output",
        "pflog",
        "thread",
    ];

    /// What every object in the kernel is compiled with: its own memory model, and no register but the general ones.
    const FLAGS: [&str; 15] = [
        "--target=x86_64-unknown-netbsd",
        "-std=gnu11",
        "-ffreestanding",
        "-fno-strict-aliasing",
        "-fno-common",
        "-fno-pic",
        "-fno-stack-protector",
        "-fno-asynchronous-unwind-tables",
        "-mcmodel=kernel",
        "-mno-red-zone",
        "-mno-mmx",
        "-mno-sse",
        "-mno-avx",
        "-msoft-float",
        "-nostdinc",
    ];

    /// What `kpi::netbsd` uses of the kernel.
    const FUNCTIONS: &str = "copyin|copyout|cprng_fast|getbintime|getbinuptime|in6?_undefer_cksum_tcpudp\
        |kmem_intr_(alloc|free)|log|m_(clget|dup|ensure_contig|freem|gethdr|tag_find|tag_get|tag_prepend)\
        |m_(adj|cat|prepend|remove_pkthdr|split)\
        |mutex_(init|destroy|(try)?enter|exit)|panic|pool_cache_(init|destroy|get_paddr|put_paddr)|pserialize_.*\
        |spllower|splraise|pfk_.*|pfr_.*";
    const VARIABLES: &str = "max_linkhdr|IPL_(NONE|SOFTNET|SOFTSERIAL|VM)|KM_NOSLEEP|PR_NOWAIT|PFIL_IN|MCLBYTES|MT_DATA\
        |M_(NOWAIT|EXT|CANFASTFWD)|M_CSUM_(TCP|UDP|TSO)v[46]|PACKET_TAG_PF|EHOSTUNREACH|MUTEX_DEFAULT|PF_MHLEN";

    pub(super) fn build() {
        println!("cargo::rerun-if-env-changed=PF_NETBSD_CFLAGS");
        println!("cargo::rerun-if-changed=kmod");
        println!("cargo::rerun-if-changed=sys-headers");
        let kernel = env::var("PF_NETBSD_CFLAGS").expect("PF_NETBSD_CFLAGS says which kernel: use scripts/build-kmod");
        let kernel: Vec<&str> = kernel.split_whitespace().chain(["-D_KERNEL", "-D_MODULE"]).collect();

        let mut c = cc::Build::new();
        c.no_default_flags(true)
            .compiler("clang")
            .archiver("llvm-ar")
            .opt_level(2);
        c.flags(FLAGS)
            .flags(&kernel)
            .flags(["-O2", "-Wall", "-Wextra", "-Werror"]);
        if env::var_os("CARGO_FEATURE_FAULT_INJECTION").is_some() {
            c.define("PF_FAULT_INJECTION", None);
        }
        c.files(SOURCES.map(|name| format!("kmod/{name}.c"))).compile("pf_kmod");

        let out: PathBuf = env::var_os("OUT_DIR").expect("cargo sets it").into();
        bindgen::builder()
            .header("kmod/bindings.h")
            .clang_args(FLAGS)
            .clang_args(&kernel)
            .use_core()
            .rust_target(bindgen::RustTarget::stable(85, 0).expect("a version of Rust"))
            .rust_edition(bindgen::RustEdition::Edition2024)
            .allowlist_function(FUNCTIONS)
            .allowlist_var(VARIABLES)
            .allowlist_type("m_tag")
            .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
            .prepend_enum_name(false)
            .generate_comments(false)
            .layout_tests(true)
            .generate()
            .expect("NetBSD's headers could not be bound")
            .write_to_file(out.join("netbsd.rs"))
            .expect("cargo's output folder is there to be written to");
    }
}
