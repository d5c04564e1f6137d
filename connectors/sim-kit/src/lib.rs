//! What simulators of CRMs share.
//!
//! | module | what it has |
//! |---|---|
//! | [`faults`] | faults that are ordered for requests to come, and replies that carry them out |
//! | [`journal`] | the log of requests, with counts |
//! | [`control`] | the control interface: its input and answers, and the routes for faults and requests |
//! | [`oauth`] | the page where a user lets an app in, and the way back to the app |
//! | [`program`] | a simulator as a program that another one starts |
//!
//! What a simulator says and holds of its CRM stays in the simulator.

pub mod control;
pub mod faults;
pub mod journal;
pub mod oauth;
pub mod program;

use journal::{Entry, Journal};
use parking_lot::Mutex;

/// A simulator's state, as far as the kit needs it.
pub trait Simulator: Send + Sync + 'static {
    /// A request in its log.
    type Entry: Entry;

    /// The faults that are ordered.
    fn faults(&self) -> &Mutex<Vec<faults::Fault>>;

    /// The log of requests.
    fn journal(&self) -> &Mutex<Journal<Self::Entry>>;

    /// Status and body of a refusal of the CRM's by its code, with this text or the usual one; nothing for an unknown code.
    fn refusal(code: &str, message: Option<&str>) -> Option<(u16, String)> {
        let _ = (code, message);
        None
    }
}
