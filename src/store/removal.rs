//! Rows that a listing lacks. They stay marked until their object was listed completely and the listing can
//! be trusted.
//!
//! A commit marks the rows that its range lacks ([`mark`]) and removes nothing. After the connector has reported that the object
//! was read completely, [`Store::sync_settle`] counts the marks of the sync and decides: few rows are removed; many are held back
//! until a person confirms them or a second listing lacks the same rows. The same *rows* must be missing, not the same number: two
//! replies that are wrong in different ways confirm nothing.
//!
//! A full read must find what is gone, but marking every row that was seen would rewrite every unchanged row.
//! So a batch says which range of ids it lists completely. A stored row of that range which the batch lacks,
//! and which no later read has confirmed, gets a mark; a row that is read afterwards loses its mark. Marks
//! are rows, so they survive crashes and need no memory, and how many there are is known when the sync ends.
//! A mark remembers when the first complete listing lacked its row: a later sync that marks it again an hour
//! or more afterwards, or a person who confirms what was marked by then, lets it go.
//!
//! - Tombstones of the CRM take effect at once and do not count: they are the CRM's word about one record.
//!   The limit is for what is concluded from silence.
//! - The limit's share is of the rows that were known before the sync. Otherwise a load of new rows (every id
//!   in another form) would make a removal look small.

mod marks;
mod settle;

pub(super) use marks::{Marks, mark, purge, unmark};
pub use settle::{RemovalGuard, Settle, Settled, Settling};
