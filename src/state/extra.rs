//! What only some states have, apart from the state itself, so that a state stays four cache lines.
//!
//! # Life cycle, locking
//! Made with the state and dropped with it; immutable, but for what has a lock of its own.

use crate::mem::KArc;
use crate::rule::Rule;

/// What only some states have.
#[derive(Debug, Default)]
pub struct Extra {
    /// The rule of the main ruleset that led to the anchor in which the state's rule stands: it counts the state's packets, too.
    pub anchor: Option<KArc<Rule>>,
}
