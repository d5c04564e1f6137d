//! How the dummy reads an object: in full, or what changed and what is due besides, in several passes over its records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tether_connector_sdk::proto::{
    ObjectSelection, PartialFields, ReadMode, ReadRequest, RecordIds, SelectedField,
};

use crate::data::{Seen, World};
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
    pub(crate) fn fields(&self, selection: &ObjectSelection) -> Vec<SelectedField> {
        match self {
            Self::Fields(fields) => fields.clone(),
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

    /// Whether a company's records are in the pass, as far as its number tells.
    pub(crate) fn has(&self, world: &World, number: u64) -> bool {
        match self {
            Self::Changes(since) => world.is_changed(number, *since),
            _ => true,
        }
    }

    /// Whether a record is in the pass.
    pub(crate) fn has_record(&self, external_id: &str) -> bool {
        match self {
            Self::Records(ids) => ids.iter().any(|id| id == external_id),
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
}

impl Passes {
    pub(crate) fn new(settings: &Settings, request: &ReadRequest) -> Self {
        Self {
            mode: request.mode(),
            records: request.records.clone(),
            always_full: settings.text("changes").is_empty(),
        }
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
            selection.unread.contains(&field.key)
                || selection.calculated_due && is_calculated(&selection.object, &field.key)
        };
        let fields: Vec<SelectedField> = selection.fields.iter().filter(due).cloned().collect();
        if selection.sweep_due || !fields.is_empty() {
            passes.push(Pass::Fields(fields));
        }
        passes
    }
}
