//! The passes in which an object is read: in full, or what changed and what is due besides.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::Wanted;
use crate::proto::SelectedField;

/// One pass over the records of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pass {
    /// All records.
    Full,
    /// The records that were added, changed, deleted, merged or restored at this time or later: unix microseconds by the
    /// CRM's clock.
    Changes {
        /// The time.
        since_us: i64,
    },
    /// Some fields of all records. Without fields it lists which records there are.
    Fields,
    /// The records with these ids, sorted by their bytes.
    Records(Vec<String>),
}

impl Pass {
    /// Whether the pass lists all ids, so that its pages can list ranges completely.
    #[must_use]
    pub fn is_listing(&self) -> bool {
        matches!(self, Self::Full | Self::Fields)
    }
}

impl<O: Copy> Wanted<O> {
    /// Whether all ids are to be listed, in complete ranges.
    pub(super) fn lists_all(&self) -> bool {
        self.since_us.is_none() || self.sweep_due
    }

    /// The listing of ids alone, for an object whose passes could not list ranges.
    pub(super) fn listing(&self) -> (Pass, Self) {
        let ids = Self {
            fields: Vec::new(),
            ..self.clone()
        };
        (Pass::Fields, ids)
    }

    /// The passes over the object, each with the fields that it reads. `calculated` are the keys of fields that change without a
    /// change of their record.
    pub(super) fn passes(&self, calculated: &[String]) -> Vec<(Pass, Self)> {
        let with = |pass: Pass, fields: Vec<SelectedField>| {
            let wanted = Self {
                fields,
                ..self.clone()
            };
            (pass, wanted)
        };
        if !self.ids.is_empty() {
            return vec![with(Pass::Records(self.ids.clone()), self.fields.clone())];
        }
        let Some(since_us) = self.since_us else {
            return vec![with(Pass::Full, self.fields.clone())];
        };
        let is_due = |field: &&SelectedField| {
            self.unread.contains(&field.key) || self.calculated_due && calculated.contains(&field.key)
        };
        let due: Vec<SelectedField> = self.fields.iter().filter(is_due).cloned().collect();
        if !self.fields.is_empty() && due.len() == self.fields.len() {
            // Nothing of what is stored is used.
            return vec![with(Pass::Full, due)];
        }
        let mut passes = vec![with(Pass::Changes { since_us }, self.fields.clone())];
        if self.sweep_due || !due.is_empty() {
            passes.push(with(Pass::Fields, due));
        }
        passes
    }
}

/// A digest of passes: a read goes on only in the same ones. Another version of the library may have another digest of the same;
/// then the object begins anew.
pub(super) fn digest<O>(passes: &[(Pass, Wanted<O>)]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (pass, wanted) in passes {
        pass.hash(&mut hasher);
        for field in &wanted.fields {
            field.key.hash(&mut hasher);
        }
        u8::MAX.hash(&mut hasher);
    }
    hasher.finish().max(1)
}
