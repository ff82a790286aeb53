//! A caller's memory, reached as copyin(9) and copyout(9) reach it: with process_vm_readv(2) and process_vm_writev(2).
//!
//! The kernel checks each access: a page that is not there, or that the caller itself may not write, is EFAULT, and never a
//! fault of ours.

use std::io::{IoSlice, IoSliceMut};

use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use pf::kpi::Errno;
use pf::kpi::host::AddressSpace;

/// The memory of a process.
#[derive(Debug, Clone, Copy)]
pub struct ProcessMemory(pub Pid);

impl AddressSpace for ProcessMemory {
    fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        let remote = remote(from, to.len())?;
        let len = to.len();
        whole(process_vm_readv(self.0, &mut [IoSliceMut::new(to)], &[remote]), len)
    }

    fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        let remote = remote(to, from.len())?;
        whole(process_vm_writev(self.0, &[IoSlice::new(from)], &[remote]), from.len())
    }
}

fn remote(base: u64, len: usize) -> Result<RemoteIoVec, Errno> {
    let base = usize::try_from(base).map_err(|_| Errno::Efault)?;
    Ok(RemoteIoVec { base, len })
}

/// A part is not enough.
fn whole(done: nix::Result<usize>, len: usize) -> Result<(), Errno> {
    if done == Ok(len) { Ok(()) } else { Err(Errno::Efault) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A process may always read its own memory this way, so that it can stand for a caller here.
    fn own() -> ProcessMemory {
        ProcessMemory(Pid::this())
    }

    #[test]
    fn memory_is_read_and_written_in_place() {
        let there = *b"argument";
        let address = std::ptr::from_ref(&there) as u64;
        let mut here = [0; 8];
        own().copyin(address, &mut here).unwrap();
        assert_eq!(&here, b"argument");
        let mut there = Box::new([0u8; 8]);
        own()
            .copyout(b"answered", std::ptr::from_mut(&mut *there) as u64)
            .unwrap();
        assert_eq!(&*there, b"answered");
    }

    #[test]
    fn an_address_that_leads_nowhere_is_efault() {
        let mut here = [0; 8];
        for address in [0, 8, u64::MAX - 3, u64::MAX / 2] {
            assert_eq!(own().copyin(address, &mut here), Err(Errno::Efault), "{address:#x}");
            assert_eq!(own().copyout(&here, address), Err(Errno::Efault), "{address:#x}");
        }
    }

    #[test]
    fn what_the_caller_may_not_write_is_efault() {
        static CONSTANT: [u8; 8] = *b"constant";
        let address = std::ptr::from_ref(&CONSTANT) as u64;
        assert_eq!(own().copyout(&[0; 8], address), Err(Errno::Efault));
        assert_eq!(&CONSTANT, b"constant");
    }

    #[test]
    fn a_process_that_is_gone_has_no_memory() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id() as i32);
        child.wait().unwrap();
        assert_eq!(ProcessMemory(pid).copyin(0x1000, &mut [0; 8]), Err(Errno::Efault));
    }
}
