//! The NetBSD back end.
