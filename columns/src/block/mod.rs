//! A block: up to 65,535 records of one object, in one or two immutable files.
//!
//! `<n>.rows` is an Arrow IPC file with one batch: the system columns `record`, `company` and `parents`, and for each path
//! `<path>#i` (integers, in the narrowest type that holds them), `<path>#d` (decimals that are no scaled integers, as texts
//! that sort like them), `<path>#t` (folded texts: a sorted dictionary, and a number for each row or list entry) and
//! `<path>#s` (the same texts as they were written). `<n>.words` has one row for each path and word: the rows that have it.

mod builder;
mod column;
mod read;
mod text_builder;
mod words;
mod write;

pub use builder::BlockBuilder;
pub use column::{Ints, Texts};
pub use read::Block;
pub use words::Words;
pub use write::Written;

/// The most rows that a block has.
pub const MOST_ROWS: u32 = 65_535;

/// The names of the system columns.
pub(crate) const RECORD: &str = "record";
pub(crate) const COMPANY: &str = "company";
pub(crate) const PARENTS: &str = "parents";

#[cfg(test)]
mod damage;
#[cfg(test)]
mod tests;
