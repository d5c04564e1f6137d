//! The sync engine: workers lease queued syncs from the database and run them. Any replica can continue a sync that
//! another one stopped, because all progress is stored in the database.
//!
//! Options → [`Engine::start`] → [`Engine::stop`]: each task has an owner and is joined when the engine stops.

mod context;
mod engine;
mod housekeeping;
mod runner;
mod schedule;
mod verdict;

pub use context::Options;
pub use engine::Engine;
pub use housekeeping::Keep;
