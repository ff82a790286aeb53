//! The ioctls of /dev/pf.

use crate::Pf;
use crate::kpi::{Caller, Errno};

/// What the ioctl path keeps between calls.
pub(crate) struct Control {}

impl Control {
    pub(crate) const fn new() -> Self {
        Control {}
    }
}

/// Serves one ioctl.
pub(crate) fn serve(_pf: &Pf, _caller: &Caller<'_>, _cmd: u64, _arg: &mut [u8]) -> Result<(), Errno> {
    Err(Errno::Enodev)
}
