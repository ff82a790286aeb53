//! Tables as the engine has them: what a pf in memory answers to the ioctls about tables.

use pf::Pf;
use pf::kpi::host::AddressSpace;
use pf::kpi::{Caller, Errno, Kernel, UserMemory};
use pf::mem::KBox;
use pf_abi::*;
use pfctl::device::Buffer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Where the caller's buffer is.
const BASE: u64 = 0x10_0000;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Memory {
    fn with(&self, at: u64, len: usize, act: impl FnOnce(&mut [u8])) -> Result<(), Errno> {
        let mut bytes = self.0.lock().unwrap();
        let start = at.checked_sub(BASE).ok_or(Errno::Efault)? as usize;
        act(bytes
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..len))
            .ok_or(Errno::Efault)?);
        Ok(())
    }
}

impl AddressSpace for Memory {
    fn copyin(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        self.with(from, to.len(), |bytes| to.copy_from_slice(bytes))
    }

    fn copyout(&self, from: &[u8], to: u64) -> Result<(), Errno> {
        self.with(to, from.len(), |bytes| bytes.copy_from_slice(from))
    }
}

/// The engine, for its tables alone.
pub(crate) struct Tables {
    pf: KBox<Pf>,
    memory: Memory,
    /// Of each anchor's tables.
    tickets: BTreeMap<String, u32>,
}

impl Default for Tables {
    fn default() -> Self {
        let kernel = Kernel::seeded(1);
        kernel.set_time(Duration::from_secs(1000), Duration::from_secs(1_700_000_000));
        Tables {
            pf: Pf::new(kernel).unwrap(),
            memory: Memory::default(),
            tickets: BTreeMap::new(),
        }
    }
}

impl Tables {
    pub(crate) fn serve(&mut self, cmd: u64, argument: &mut [u8], buffer: Option<Buffer<'_>>) -> Result<(), i32> {
        let mut words = vec![0u64; argument.len().div_ceil(8)];
        let bytes = &mut words.as_mut_bytes()[..argument.len()];
        bytes.copy_from_slice(argument);
        let mut buffer = buffer;
        if let Some(buffer) = &mut buffer {
            *self.memory.0.lock().unwrap() = buffer.bytes.to_vec();
            let at = buffer.pointer_at;
            bytes[at..at + 8].copy_from_slice(&BASE.to_ne_bytes());
        }
        let user = UserMemory::new(self.memory.clone());
        let caller = Caller {
            writable: true,
            allowed: true,
            uid: 0,
            pid: 1,
            owner: 1,
            memory: &user,
        };
        self.pf.ioctl(&caller, cmd, bytes).map_err(|errno| errno as i32)?;
        argument.copy_from_slice(bytes);
        if let Some(buffer) = buffer {
            buffer.bytes.copy_from_slice(&self.memory.0.lock().unwrap());
        }
        Ok(())
    }

    /// DIOCXBEGIN, DIOCXCOMMIT or DIOCXROLLBACK over the tables: their ticket.
    pub(crate) fn transaction(&mut self, cmd: u64, anchor: &str) -> u32 {
        let ticket = self.tickets.entry(anchor.to_owned()).or_default();
        let mut element = IocTransE {
            rs_num: PF_RULESET_TABLE,
            anchor: AnchorPath::new(anchor).unwrap(),
            ticket: *ticket,
        };
        let mut argument = IocTrans {
            size: 1,
            esize: size_of::<IocTransE>() as i32,
            ..IocTrans::default()
        };
        let mut bytes = element.as_bytes().to_vec();
        let buffer = Buffer {
            pointer_at: std::mem::offset_of!(IocTrans, array),
            bytes: &mut bytes,
        };
        self.serve(cmd, argument.as_mut_bytes(), Some(buffer)).unwrap();
        element = IocTransE::read_from_bytes(&bytes).unwrap();
        self.tickets.insert(anchor.to_owned(), element.ticket);
        element.ticket
    }
}
