//! How the router ends: one event that every thread waits for beside its own work.
//!
//! # Life cycle
//! Made at the start, requested once by the thread that gets the signal, and never taken back.
//!
//! # Locking
//! None: an eventfd(2) that is written to stays readable for everybody.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// The request to stop, made or not yet.
#[derive(Debug)]
pub struct Stop(EventFd);

impl Stop {
    /// Not requested.
    ///
    /// # Errors
    /// Those of eventfd(2).
    pub fn new() -> nix::Result<Self> {
        EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Stop)
    }

    /// Lets every [`wait`](Stop::wait), now and later, end.
    pub fn request(&self) {
        // The only failure is a counter that is full, and so readable already.
        let _ = self.0.write(1);
    }

    /// Waits until something can be read from `fd`, or has happened to it, or perhaps a little less; false if it is time to
    /// stop.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&self, fd: BorrowedFd<'_>) -> nix::Result<bool> {
        self.wait_for(fd, PollFlags::POLLIN)
    }

    /// The same, until something can be written to `fd`.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait_writable(&self, fd: BorrowedFd<'_>) -> nix::Result<bool> {
        self.wait_for(fd, PollFlags::POLLOUT)
    }

    /// Waits until something can be read from `fd`, or nobody can read any more from the FIFO that `fifo` writes to: then true as the
    /// second. False as the first if it is time to stop.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait_or_unread(&self, fd: BorrowedFd<'_>, fifo: BorrowedFd<'_>) -> nix::Result<(bool, bool)> {
        let mut fds = [
            PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(fd, PollFlags::POLLIN),
            // POLLERR is told without being asked for.
            PollFd::new(fifo, PollFlags::empty()),
        ];
        poll_all(&mut fds, PollTimeout::NONE)?;
        Ok((fds[0].any() != Some(true), fds[2].any() == Some(true)))
    }

    fn wait_for(&self, fd: BorrowedFd<'_>, event: PollFlags) -> nix::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN), PollFd::new(fd, event)];
        poll_all(&mut fds, PollTimeout::NONE)?;
        Ok(fds[0].any() != Some(true))
    }

    /// Waits until something can be read from `fd`, or `timeout` has passed; false if it is time to stop.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait_until(&self, fd: BorrowedFd<'_>, timeout: PollTimeout) -> nix::Result<bool> {
        let mut fds = [
            PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(fd, PollFlags::POLLIN),
        ];
        poll_all(&mut fds, timeout)?;
        Ok(fds[0].any() != Some(true))
    }

    /// Waits until `timeout` has passed; false if it is time to stop.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn sleep(&self, timeout: PollTimeout) -> nix::Result<bool> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll_all(&mut fds, timeout)?;
        Ok(fds[0].any() != Some(true))
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// poll(2); what a signal interrupts counts as nothing having happened.
fn poll_all(fds: &mut [PollFd<'_>], timeout: PollTimeout) -> nix::Result<()> {
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_request_ends_every_wait() {
        let stop = Stop::new().unwrap();
        let quiet = EventFd::new().unwrap();
        assert!(stop.sleep(PollTimeout::ZERO).unwrap());
        thread::scope(|scope| {
            let waits = [
                scope.spawn(|| stop.wait(quiet.as_fd()).unwrap()),
                scope.spawn(|| stop.sleep(PollTimeout::NONE).unwrap()),
            ];
            stop.request();
            for wait in waits {
                assert!(!wait.join().unwrap());
            }
        });
        assert!(!stop.sleep(PollTimeout::NONE).unwrap());
    }

    #[test]
    fn what_can_be_read_ends_a_wait() {
        let stop = Stop::new().unwrap();
        let event = EventFd::from_value(1).unwrap();
        assert!(stop.wait(event.as_fd()).unwrap());
        assert!(stop.wait_until(event.as_fd(), PollTimeout::NONE).unwrap());
        let quiet = EventFd::new().unwrap();
        assert!(stop.wait_until(quiet.as_fd(), PollTimeout::ZERO).unwrap());
    }
}
