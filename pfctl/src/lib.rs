//! pfctl.
