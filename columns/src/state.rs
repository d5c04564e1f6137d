//! One state of an index: its blocks, and the tables that join them.

use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::Error;
use crate::block::Block;
use crate::companies::Companies;
use crate::folder::Folder;
use crate::manifest::{BlockEntry, FileEntry, Manifest};
use crate::numbers::NONE;
use crate::rows::Rows;
use crate::tables::Tables;
use crate::writer::read_keys;

/// The paths of the values by which one of several records of a company gives it its name: the first by name and id.
#[derive(Debug, Clone)]
pub struct Naming {
    /// The path of the name's sort key.
    pub name: String,
    /// The path of the record's id.
    pub id: String,
}

/// A block of an index.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) block: Arc<Block>,
    pub(crate) slot: u16,
    pub(crate) name: String,
    pub(crate) files: Vec<FileEntry>,
    /// The rows that were replaced or removed.
    pub(crate) dead: Arc<Rows>,
}

/// One state of an index.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) manifest: Manifest,
    /// By slot.
    blocks: Vec<Option<Held>>,
    pub(crate) tables: Tables,
}

impl State {
    /// The state of a new index.
    pub(crate) fn empty(name: &str) -> Self {
        Self {
            manifest: Manifest::new(name),
            blocks: Vec::new(),
            tables: Tables::default(),
        }
    }

    /// The state that a manifest describes. Its files were verified. Blocks.
    pub(crate) fn open(
        folder: &Folder,
        manifest: Manifest,
        companies: &Companies,
        naming: &Naming,
    ) -> Result<Self, Error> {
        let entries = manifest.blocks.clone();
        let mut state = Self {
            blocks: Vec::new(),
            tables: Tables::default(),
            manifest,
        };
        let ids = read_keys(folder, &state.manifest.companies)?;
        let globals = companies.numbers(ids.into_iter());
        for (local, global) in globals.into_iter().enumerate() {
            state.tables.global.set(local as u32, global);
            state.tables.local.set(global, local as u32);
        }
        let mut changed = Vec::new();
        for entry in entries {
            let held = open_block(folder, &entry)?;
            let slot = u32::from(held.slot);
            for (row, (record, company)) in held
                .block
                .records()
                .iter()
                .zip(held.block.companies())
                .enumerate()
            {
                let row = row as u32;
                if held.dead.contains(row) {
                    continue;
                }
                state.tables.location.set(*record, slot << 16 | row);
                if *company != NONE {
                    state.tables.attach(*record, *company);
                    changed.push(*company);
                }
            }
            state.add(held);
        }
        changed.sort_unstable();
        changed.dedup();
        state.settle(&changed, naming);
        Ok(state)
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Held> {
        self.blocks.iter().flatten()
    }

    pub(crate) fn block(&self, slot: u16) -> Option<&Held> {
        self.blocks.get(usize::from(slot))?.as_ref()
    }

    pub(crate) fn block_mut(&mut self, slot: u16) -> Option<&mut Held> {
        self.blocks.get_mut(usize::from(slot))?.as_mut()
    }

    pub(crate) fn add(&mut self, held: Held) {
        let slot = usize::from(held.slot);
        if slot >= self.blocks.len() {
            self.blocks.resize(slot + 1, None);
        }
        self.blocks[slot] = Some(held);
    }

    pub(crate) fn remove(&mut self, slot: u16) {
        if let Some(held) = self.blocks.get_mut(usize::from(slot)) {
            *held = None;
        }
    }

    /// Brings up to date what is known of these companies, which got or lost records: whether they have any, and which one
    /// names them.
    pub(crate) fn settle(&mut self, changed: &[u32], naming: &Naming) {
        if changed.is_empty() {
            return;
        }
        let mut live = Arc::unwrap_or_clone(std::mem::take(&mut self.tables.live));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        let mut names = Vec::new();
        for company in changed {
            let records = self.tables.records(*company);
            let global = self.tables.global.get(*company);
            match records.as_slice() {
                [] => without.push(global),
                [_] => with.push(global),
                several => {
                    with.push(global);
                    let key = |record: &u32| {
                        (
                            self.text_of(*record, &naming.name),
                            self.text_of(*record, &naming.id),
                        )
                    };
                    names.extend(
                        several
                            .iter()
                            .min_by_key(|record| key(record))
                            .map(|first| (*company, *first)),
                    );
                }
            }
        }
        with.sort_unstable();
        live |= with.into_iter().collect::<RoaringBitmap>();
        live -= without.into_iter().collect::<RoaringBitmap>();
        self.tables.live = Arc::new(live);
        if !names.is_empty() {
            Arc::make_mut(&mut self.tables.naming).extend(names);
        }
    }

    /// The text of a record at a path; of a list, the first entry.
    fn text_of(&self, record: u32, path: &str) -> Option<&str> {
        let location = self.tables.location.get(record);
        let held = self.block((location >> 16) as u16)?;
        let texts = held.block.texts(path)?;
        Some(texts.text(texts.get(location & 0xffff)?))
    }
}

fn open_block(folder: &Folder, entry: &BlockEntry) -> Result<Held, Error> {
    let lengths: Vec<(String, u64)> = entry
        .files
        .iter()
        .map(|file| (file.name.clone(), file.length))
        .collect();
    let block = Block::open(folder.path(), &entry.name, &entry.object, &lengths)?;
    let mut dead = Rows::default();
    if !entry.dead.is_empty() {
        let rows = RoaringBitmap::deserialize_from(entry.dead.as_slice())?;
        for row in rows {
            if row >= block.rows() {
                return Err(Error::damaged(
                    &entry.name,
                    "has fewer rows than its manifest says",
                ));
            }
            dead.insert(row);
        }
    }
    let slot = u16::try_from(entry.slot).map_err(|_| Error::damaged(&entry.name, "has a wrong slot"))?;
    Ok(Held {
        block: Arc::new(block),
        slot,
        name: entry.name.clone(),
        files: entry.files.clone(),
        dead: Arc::new(dead),
    })
}
