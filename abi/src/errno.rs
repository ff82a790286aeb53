//! NetBSD's error numbers, as far as an ioctl of pf answers with them. pf-router answers with the same numbers, whatever
//! system it runs on.

macro_rules! errnos {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: i32 = $value;)*

        /// What a number means, in the words of intro(2); `None` for a number that is not listed here.
        pub const fn text(errno: i32) -> Option<&'static str> {
            match errno {
                $($name => Some($text),)*
                _ => None,
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file or directory";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted system call";
    EIO = 5, "input/output error";
    ENXIO = 6, "device not configured";
    E2BIG = 7, "argument list too long";
    EBADF = 9, "bad file descriptor";
    ENOMEM = 12, "cannot allocate memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "device busy";
    EEXIST = 17, "file exists";
    ENODEV = 19, "operation not supported by device";
    EINVAL = 22, "invalid argument";
    ENOTTY = 25, "inappropriate ioctl for device";
    ENOSPC = 28, "no space left on device";
    EAGAIN = 35, "resource temporarily unavailable";
    EOPNOTSUPP = 45, "operation not supported";
    EAFNOSUPPORT = 47, "address family not supported by protocol family";
    EADDRINUSE = 48, "address already in use";
    ENOBUFS = 55, "no buffer space available";
    ENAMETOOLONG = 63, "file name too long";
    EHOSTUNREACH = 65, "no route to host";
    ENOSYS = 78, "function not implemented";
    EOVERFLOW = 84, "value too large to be stored in data type";
}
