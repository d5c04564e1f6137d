//! Common code of the CRM simulators.
//!
//! | module | content |
//! |---|---|
//! | [`faults`] | faults for later requests |
//! | [`effects`] | what faults do to answers |
//! | [`wire`] | connections that can be reset |
//! | [`journal`] | the log of requests, with counts |
//! | [`control`] | the control interface: its input and answers, and the routes for faults and requests |
//! | [`oauth`] | the page on which a user allows an app, and the redirect to the app |
//! | [`program`] | running a simulator as a child process |
//!
//! Data and behaviour of a CRM stay in its simulator.

pub mod control;
pub mod effects;
pub mod faults;
pub mod journal;
pub mod oauth;
pub mod program;
pub mod wire;

use journal::{Entry, Journal};
use parking_lot::Mutex;

/// A simulator's state, as far as the kit needs it.
pub trait Simulator: Send + Sync + 'static {
    /// A request in its log.
    type Entry: Entry;

    /// The current faults.
    fn faults(&self) -> &Mutex<Vec<faults::Fault>>;

    /// The log of requests.
    fn journal(&self) -> &Mutex<Journal<Self::Entry>>;

    /// Status and body of one of the CRM's errors by its code, with this text or the usual one; None for an unknown
    /// code.
    fn refusal(code: &str, message: Option<&str>) -> Option<(u16, String)> {
        let _ = (code, message);
        None
    }
}
