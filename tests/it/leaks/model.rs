//! The slow and obvious model of who may see what.

use std::collections::{BTreeMap, BTreeSet};

pub(super) const GROUPS: [&str; 5] = ["acme", "globex", "hooli", "initech", "umbrella"];
pub(super) const FIELDS: [&str; 6] = [
    "Company.Employees",
    "Company.Industry",
    "Company.Name",
    "Deal.Amount",
    "Deal.Stage",
    "Person.Email",
];
/// Most integrations at a time.
pub(super) const MOST: usize = 7;

pub(super) type Group = usize;
pub(super) type Fields = BTreeSet<&'static str>;

/// A share of the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Share {
    /// `None` for all active ones.
    pub(super) fields: Option<Fields>,
    pub(super) connected: bool,
    pub(super) active: Fields,
}

/// An integration of the model.
#[derive(Clone, Debug)]
pub(super) struct Integration {
    pub(super) owner: Group,
    pub(super) display_name: String,
    pub(super) saved: bool,
    pub(super) deleted: bool,
    pub(super) selected: Fields,
    /// What the owner made passive; a decision outlives the selection.
    pub(super) passive: Fields,
    pub(super) connected: bool,
    pub(super) shares: BTreeMap<Group, Share>,
    /// Its companies are 1 to this.
    pub(super) companies: usize,
}

impl Integration {
    /// The fields a group sees, with whether they are active; `None` if it does not see the integration at all.
    pub(super) fn fields(&self, group: Group) -> Option<BTreeMap<&'static str, bool>> {
        if self.deleted {
            return None;
        }
        let owned = |field: &&'static str| (*field, !self.passive.contains(field));
        if group == self.owner {
            return Some(self.selected.iter().map(owned).collect());
        }
        let share = self.shares.get(&group).filter(|_| self.saved)?;
        let gets = |field: &&&'static str| {
            !self.passive.contains(**field)
                && share
                    .fields
                    .as_ref()
                    .is_none_or(|listed| listed.contains(**field))
        };
        let fields = self.selected.iter().filter(gets);
        Some(
            fields
                .map(|field| (*field, share.active.contains(field)))
                .collect(),
        )
    }

    pub(super) fn connected(&self, group: Group) -> bool {
        if group == self.owner {
            self.connected
        } else {
            self.shares.get(&group).is_some_and(|share| share.connected)
        }
    }
}

/// Who may see what, kept in the simplest way.
#[derive(Default)]
pub(super) struct Model {
    pub(super) integrations: BTreeMap<String, Integration>,
    pub(super) connections: BTreeSet<(Group, Group)>,
    /// What was last said of the connector.
    pub(super) enabled: BTreeMap<Group, bool>,
    pub(super) tracked: BTreeMap<Group, BTreeSet<usize>>,
}

pub(super) fn pair(a: Group, b: Group) -> (Group, Group) {
    (a.min(b), a.max(b))
}

impl Model {
    pub(super) fn enabled(&self, group: Group) -> bool {
        self.enabled.get(&group).copied().unwrap_or(false)
    }

    /// Whether a group's companies come from it.
    pub(super) fn is_source(&self, of: &Integration, group: Group) -> bool {
        of.saved
            && of.fields(group).is_some()
            && of.connected(group)
            && self.enabled(of.owner)
            && self.enabled.get(&group).copied().unwrap_or(group != of.owner)
    }

    /// The groups that a change of an integration may show to.
    pub(super) fn audience(&self, name: &str) -> BTreeSet<Group> {
        self.integrations
            .get(name)
            .map(|of| of.shares.keys().copied().chain([of.owner]).collect())
            .unwrap_or_default()
    }

    /// The groups that anything of a group's may show to.
    pub(super) fn neighbours(&self, group: Group) -> BTreeSet<Group> {
        let own = self
            .integrations
            .iter()
            .filter(|(_, of)| !of.deleted && of.owner == group);
        own.flat_map(|(name, _)| self.audience(name))
            .chain([group])
            .collect()
    }
}

pub(super) fn company(number: usize) -> String {
    // `.example` is no public suffix: the dummy's companies are records.
    crate::support::companies::of_record("dummy", "org-acme", &format!("C{number:08}"))
}
