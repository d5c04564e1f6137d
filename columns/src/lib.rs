//! Searchable columns of records: immutable, memory-mapped blocks in the form of Arrow IPC files, and the loops over them.
//!
//! An [`Index`] takes records as rows of values under paths, and gives [`Snapshot`]s that find companies: by conditions
//! ([`Expr`]), in pages ([`Snapshot::scan`]), and in graphs. It knows nothing of databases, payloads and groups.
//!
//! | file | what it is |
//! |---|---|
//! | `block/` | up to 65,535 rows of one object: columns, dictionaries, words |
//! | `manifest`, `folder` | the list of files, replaced by each commit; their hashes |
//! | `writer`, `merge` | collecting rows into blocks; fewer blocks out of many |
//! | `state`, `tables`, `numbers`, `chunked` | what joins blocks: numbers of records and companies, live rows, parents |
//! | `snapshot`, `search`, `order`, `scan` | conditions and pages |
//! | `aggregate/` | counts and measures by buckets |
//! | `expr`, `number`, `text`, `typo` | conditions, and the forms in which values are compared |

mod aggregate;
pub mod block;
mod cancel;
mod chunked;
mod companies;
mod error;
mod expr;
mod folder;
mod index;
mod manifest;
mod map;
mod measured;
mod merge;
pub mod number;
mod numbers;
mod order;
mod position;
mod rows;
mod scan;
mod search;
mod snapshot;
mod state;
mod sum;
mod tables;
pub mod text;
mod typo;
mod writer;

pub use aggregate::Measure as GroupMeasure;
pub use aggregate::{
    Aggregate, Aggregated, Bucket, Dimension, Function, Group, IntervalOf, Keep, Outcome, RowTest, Subject,
};
pub use block::BlockBuilder;
pub use cancel::{CancelOnDrop, Cancelled, check, check_at};
pub use companies::Companies;
pub use error::Error;
pub use expr::{Comparison, Expr, Set, Test, TextTest, Values, WordTest, ordered_test, scaled_range};
pub use folder::Folder;
pub use index::{Changes, Index};
pub use measured::{Measure, Measured, NumberTest};
pub use order::{SortKind, SortPath, SortRef, SortValue, cut};
pub use position::Position;
pub use rows::Rows;
pub use scan::Top;
pub use snapshot::Snapshot;
pub use state::Naming;
pub use writer::{Put, record_key};
