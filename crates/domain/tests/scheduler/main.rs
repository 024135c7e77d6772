//! The scheduler in large worlds by chance: a cluster that is simulated for days, and small worlds of any kind.

mod cluster;
mod rules;
mod worlds;
