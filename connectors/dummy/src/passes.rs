//! How the dummy reads an object: in full, or what changed and what is due besides, in several passes over its records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{
    ObjectSelection, PartialFields, ReadMode, ReadRequest, Record, RecordIds, SelectedField,
};

use crate::data::{Seen, World, company_number};
use crate::fields::is_calculated;
use crate::script::Settings;

/// One pass over the records of an object.
#[derive(Clone, Debug)]
pub(crate) enum Pass {
    /// All records.
    Full,
    /// Those that changed since.
    Changes(Seen),
    /// Some fields of all records; without fields, that they exist.
    Fields(Vec<SelectedField>),
    /// Those with these ids.
    Records(Vec<String>),
}

impl Pass {
    /// The fields that the pass reads of the selected ones.
    pub(crate) fn fields(&self, selection: &ObjectSelection, settings: &Settings) -> Vec<SelectedField> {
        match self {
            Self::Fields(fields) if !settings.is_mutant("partial-has-more") => fields.clone(),
            _ => selection.fields.clone(),
        }
    }

    /// What a batch says of its records.
    pub(crate) fn partial(&self) -> Option<PartialFields> {
        match self {
            Self::Fields(fields) => Some(PartialFields {
                fields: fields.iter().map(|field| field.key.clone()).collect(),
            }),
            _ => None,
        }
    }

    /// Whether the pass lists all ids, so that its batches list ranges completely.
    pub(crate) fn is_listing(&self) -> bool {
        matches!(self, Self::Full | Self::Fields(_))
    }

    /// Whether its batches say which ranges they list.
    pub(crate) fn has_ranges(&self, settings: &Settings) -> bool {
        match self {
            Self::Full => true,
            Self::Fields(_) => !settings.is_mutant("sweeps-without-ranges"),
            Self::Records(_) => settings.is_mutant("records-with-ranges"),
            Self::Changes(_) => false,
        }
    }

    /// Named records that a company of this number, which does not exist, would have.
    pub(crate) fn absent(&self, settings: &Settings, world: &World) -> Vec<Record> {
        let Self::Records(ids) = self else {
            return Vec::new();
        };
        let is_absent = |id: &&String| company_number(id).is_some_and(|number| number > world.companies());
        let absent = ids
            .iter()
            .filter(|id| settings.is_mutant("absent-as-deleted") && is_absent(id));
        let deleted = |id: &String| Record {
            external_id: id.clone(),
            deleted: true,
            ..Record::default()
        };
        absent.map(deleted).collect()
    }

    /// Keeps what the pass says of a record: of a part of it neither names nor parents.
    pub(crate) fn keep(&self, record: &mut Record) {
        if self.partial().is_some() {
            *record = Record {
                display_name: String::new(),
                homepage: String::new(),
                homepages: Vec::new(),
                parents: Vec::new(),
                ..std::mem::take(record)
            };
        }
    }

    /// Whether a company's records are in the pass, as far as its number tells.
    pub(crate) fn has(&self, world: &World, number: u64) -> bool {
        match self {
            Self::Changes(since) => world.is_changed(number, *since),
            _ => true,
        }
    }

    /// Whether a record is in the pass.
    pub(crate) fn has_record(&self, record: &Record, settings: &Settings) -> bool {
        match self {
            Self::Records(ids) => ids.contains(&record.external_id),
            Self::Changes(_) => !record.deleted || !settings.is_mutant("misses-deletions"),
            _ => true,
        }
    }
}

/// What the reads up to a checkpoint have seen of each object.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct History(pub(crate) BTreeMap<String, Seen>);

/// How each object is read.
pub(crate) struct Passes {
    mode: ReadMode,
    records: Vec<RecordIds>,
    /// The setting `changes` is not set: everything is read each time.
    always_full: bool,
    settings: Settings,
}

impl Passes {
    pub(crate) fn new(settings: &Settings, request: &ReadRequest) -> Self {
        let full = settings.is_mutant("full-uses-state") && !request.state.is_empty();
        Self {
            mode: if full { ReadMode::Changes } else { request.mode() },
            records: request.records.clone(),
            always_full: settings.text("changes").is_empty() || settings.is_mutant("rereads-everything"),
            settings: settings.clone(),
        }
    }

    /// Whether the ranges of people and deals are listed, and they are reported as deleted with their company: older tests
    /// know a dummy that does neither.
    pub(crate) fn lists_all(&self) -> bool {
        !self.settings.text("changes").is_empty()
    }

    /// The passes over one object, with what was seen of it before this read.
    pub(crate) fn of(&self, selection: &ObjectSelection, seen: Option<Seen>) -> Vec<Pass> {
        if self.mode == ReadMode::Records {
            let of_object = self.records.iter().filter(|ids| ids.object == selection.object);
            let ids: Vec<String> = of_object.flat_map(|ids| ids.external_ids.clone()).collect();
            return match ids.is_empty() {
                true => Vec::new(),
                false => vec![Pass::Records(ids)],
            };
        }
        let Some(since) = seen.filter(|_| self.mode == ReadMode::Changes && !self.always_full) else {
            return vec![Pass::Full];
        };
        let mut passes = vec![Pass::Changes(since)];
        let due = |field: &&SelectedField| {
            selection.unread.contains(&field.key) && !self.settings.is_mutant("forgets-unread")
                || selection.calculated_due
                    && is_calculated(&selection.object, &field.key)
                    && !self.settings.is_mutant("forgets-calculated")
        };
        let fields: Vec<SelectedField> = selection.fields.iter().filter(due).cloned().collect();
        if selection.sweep_due || !fields.is_empty() {
            passes.push(Pass::Fields(fields));
        }
        passes
    }
}
