//! Quantities as people type them on the command line: memory and time.

pub mod duration;
pub mod memory;
