//! The ioctl interface of /dev/pf.
#![no_std]
