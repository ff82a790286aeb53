//! A time as ctime(3) writes it, in the local time zone.
#![allow(unsafe_code)]

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `Wed Nov 25 19:03:49 2026`, from seconds since 1970.
pub fn time_text(seconds: i64) -> String {
    // SAFETY: all of it is numbers and a pointer, for which zero is a value.
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    let seconds = seconds as libc::time_t;
    // SAFETY: both are valid for the call, which reads the one and writes the other.
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut local) }.is_null() {
        return "?".to_owned();
    }
    let word = |words: &[&'static str], at: i32| usize::try_from(at).ok().and_then(|at| words.get(at).copied());
    format!(
        "{} {} {:2} {:02}:{:02}:{:02} {}",
        word(&DAYS, local.tm_wday).unwrap_or("?"),
        word(&MONTHS, local.tm_mon).unwrap_or("?"),
        local.tm_mday,
        local.tm_hour,
        local.tm_min,
        local.tm_sec,
        i64::from(local.tm_year) + 1900
    )
}
