//! Changes that are made at one time and become visible at a later one, as those of a long transaction do.

use std::collections::BTreeMap;

use crate::org::Org;

/// One change, to be applied at the commit.
type Pending = Box<dyn FnOnce(&mut Org) -> Result<(), String> + Send>;

/// The open transactions, by their names: the number of the org, and its changes in their order.
#[derive(Default)]
pub(crate) struct Transactions(BTreeMap<String, Vec<(usize, Pending)>>);

impl Transactions {
    /// Adds a change. The first one opens the transaction.
    pub(crate) fn add(&mut self, name: &str, org: usize, change: Pending) {
        self.0.entry(name.to_owned()).or_default().push((org, change));
    }

    /// Ends a transaction: its changes, or None if there is none of that name.
    pub(crate) fn take(&mut self, name: &str) -> Option<Vec<(usize, Pending)>> {
        self.0.remove(name)
    }

    /// The open transactions, and the number of changes in each.
    pub(crate) fn open(&self) -> BTreeMap<&str, usize> {
        let sizes = self
            .0
            .iter()
            .map(|(name, changes)| (name.as_str(), changes.len()));
        sizes.collect()
    }
}
