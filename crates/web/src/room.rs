//! Turns and room: what keeps one caller from costing the others.

pub(crate) mod bodies;
pub(crate) mod kept;
pub(crate) mod lists;
pub(crate) mod turns;
pub(crate) mod whole;
