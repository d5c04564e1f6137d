//! Applies changes to an index: rows are collected in memory, written as blocks, and become durable together with a new
//! manifest.

use std::collections::HashMap;
use std::sync::Arc;

use crate::block::{Block, BlockBuilder, MOST_ROWS, Written};
use crate::companies::Companies;
use crate::folder::Folder;
use crate::manifest::{BlockEntry, FileEntry, KeyEntry, Manifest};
use crate::numbers::{NONE, Numbers};
use crate::rows::Rows;
use crate::state::{Held, Naming, State};
use crate::{Error, merge};

/// The key of a record: it is the same in each process.
#[must_use]
pub fn record_key(object: &str, external_id: &str) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(object.as_bytes());
    hasher.update(&[0]);
    hasher.update(external_id.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}

/// The rows of one object that are not yet in a block.
struct Pending {
    builder: BlockBuilder,
    slot: u16,
    dead: Rows,
}

/// A record to be put into an index.
#[derive(Debug, Clone, Copy)]
pub struct Put<'a> {
    /// Its object.
    pub object: &'a str,
    /// Its key, see [`record_key`].
    pub key: u128,
    /// The id of its company, if it is a company record.
    pub company: Option<u128>,
    /// The keys of its parents.
    pub parents: &'a [u128],
}

/// The writer of an index.
pub(crate) struct Writer {
    folder: Arc<Folder>,
    companies: Arc<Companies>,
    naming: Naming,
    /// The state of the last commit, with what was changed since.
    pub(crate) state: State,
    /// The numbers of records.
    records: Numbers,
    /// The local numbers of companies.
    ids: Numbers,
    pending: HashMap<String, Pending>,
    /// Companies that got or lost a record since the last commit, by their local numbers.
    changed: Vec<u32>,
    /// So many bytes of rows are kept in memory.
    most_bytes: usize,
}

impl Writer {
    pub(crate) fn new(
        folder: Arc<Folder>,
        companies: Arc<Companies>,
        naming: Naming,
        state: State,
        most_bytes: usize,
    ) -> Result<Self, Error> {
        // Files of an interrupted writer: repeated attempts do not fill the disk.
        let manifest = &state.manifest;
        folder
            .keep(&|name| name == crate::manifest::NAME || manifest.files().any(|file| file.name == name))?;
        let records = Numbers::of(read_keys(&folder, &state.manifest.records)?);
        let ids = Numbers::of(read_keys(&folder, &state.manifest.companies)?);
        Ok(Self {
            folder,
            companies,
            naming,
            state,
            records,
            ids,
            pending: HashMap::new(),
            changed: Vec::new(),
            most_bytes,
        })
    }

    /// Puts a record, in place of what it was before. `fill` adds its values to the row.
    pub(crate) fn put(&mut self, put: Put<'_>, fill: impl FnOnce(&mut BlockBuilder)) -> Result<(), Error> {
        let record = self.records.number(put.key);
        self.remove(record);
        let parents: Vec<u32> = put.parents.iter().map(|key| self.records.number(*key)).collect();
        let company = put.company.map_or(NONE, |id| self.company(id));
        let pending = match self.pending.get_mut(put.object) {
            Some(pending) => pending,
            None => {
                let slot = self.free_slot()?;
                let pending = Pending {
                    builder: BlockBuilder::default(),
                    slot,
                    dead: Rows::default(),
                };
                self.pending.entry(put.object.to_owned()).or_insert(pending)
            }
        };
        let row = pending.builder.rows();
        pending.builder.row(record, company, &parents);
        fill(&mut pending.builder);
        let full = pending.builder.rows() >= MOST_ROWS;
        let location = u32::from(pending.slot) << 16 | row;
        self.state.tables.location.set(record, location);
        if company != NONE {
            self.state.tables.attach(record, company);
            self.changed.push(company);
        }
        if full {
            self.flush(put.object)?;
        } else if row % 256 == 255 {
            self.shrink()?;
        }
        Ok(())
    }

    /// Removes a record, if there is one.
    pub(crate) fn delete(&mut self, key: u128) {
        if let Some(record) = self.records.find(key) {
            self.remove(record);
        }
    }

    fn remove(&mut self, record: u32) {
        let location = self.state.tables.location.get(record);
        if location == NONE {
            return;
        }
        let (slot, row) = ((location >> 16) as u16, location & 0xffff);
        if let Some(held) = self.state.block_mut(slot) {
            Arc::make_mut(&mut held.dead).insert(row);
        } else if let Some(pending) = self.pending.values_mut().find(|pending| pending.slot == slot) {
            pending.dead.insert(row);
        }
        self.state.tables.location.set(record, NONE);
        self.changed.extend(self.state.tables.detach(record));
    }

    /// The local number of a company.
    fn company(&mut self, id: u128) -> u32 {
        let known = self.ids.len();
        let company = self.ids.number(id);
        if company == known {
            let global = self.companies.numbers([id].into_iter())[0];
            self.state.tables.global.set(company, global);
            self.state.tables.local.set(global, company);
        }
        company
    }

    fn free_slot(&self) -> Result<u16, Error> {
        let used = |slot: u16| {
            self.state.block(slot).is_some() || self.pending.values().any(|pending| pending.slot == slot)
        };
        // The last slot would give locations that look like none.
        (0..u16::MAX)
            .find(|slot| !used(*slot))
            .ok_or_else(|| Error::Broken("the index has too many blocks".to_owned()))
    }

    /// Writes the largest rows in memory as blocks until they take less than half of the memory that they may take.
    fn shrink(&mut self) -> Result<(), Error> {
        let bytes = |pending: &HashMap<String, Pending>| -> usize {
            pending.values().map(|pending| pending.builder.bytes()).sum()
        };
        if bytes(&self.pending) <= self.most_bytes {
            return Ok(());
        }
        while bytes(&self.pending) > self.most_bytes / 2 {
            let largest = self
                .pending
                .iter()
                .max_by_key(|(_, pending)| pending.builder.bytes());
            let Some(object) = largest.map(|(object, _)| object.clone()) else {
                break;
            };
            self.flush(&object)?;
        }
        Ok(())
    }

    fn flush(&mut self, object: &str) -> Result<(), Error> {
        if let Some(Pending { builder, slot, dead }) = self.pending.remove(object) {
            let held = self.write(builder, slot, object)?;
            self.state.add(Held {
                dead: Arc::new(dead),
                ..held
            });
        }
        Ok(())
    }

    fn file_name(&mut self) -> String {
        let name = self.state.manifest.next_file.to_string();
        self.state.manifest.next_file += 1;
        name
    }

    fn write(&mut self, builder: BlockBuilder, slot: u16, object: &str) -> Result<Held, Error> {
        self.folder.writable()?;
        let name = self.file_name();
        let written = builder.write(self.folder.path(), &name)?;
        let mut lengths = Vec::new();
        let mut files = Vec::new();
        for Written { name, length, hash } in written {
            self.folder.written(&name, hash)?;
            lengths.push((name.clone(), length));
            files.push(FileEntry {
                name,
                length,
                hash: hash.to_vec(),
            });
        }
        let block = Block::open(self.folder.path(), &name, object, &lengths)?;
        Ok(Held {
            block: Arc::new(block),
            slot,
            name,
            files,
            dead: Arc::default(),
        })
    }

    /// Makes all changes durable, together with what the owner wants to know again.
    pub(crate) fn commit(&mut self, memory: &str) -> Result<(), Error> {
        let objects: Vec<String> = self.pending.keys().cloned().collect();
        for object in objects {
            self.flush(&object)?;
        }
        self.merge()?;
        let mut changed = std::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        self.state.settle(&changed, &self.naming);
        let records = self.state.manifest.records.clone();
        self.state.manifest.records = self.save_keys(records, false)?;
        let companies = self.state.manifest.companies.clone();
        self.state.manifest.companies = self.save_keys(companies, true)?;
        self.state.manifest.memory = memory.to_owned();
        self.state.manifest.blocks = self.state.blocks().map(block_entry).collect::<Result<_, _>>()?;
        self.folder.sync()?;
        self.state.manifest.write(&self.folder)?;
        let manifest = &self.state.manifest;
        self.folder
            .keep(&|name| name == crate::manifest::NAME || manifest.files().any(|file| file.name == name))?;
        Ok(())
    }

    /// Replaces small blocks, and those with many dead rows, by fewer.
    fn merge(&mut self) -> Result<(), Error> {
        for merged in merge::choose(&self.state) {
            let object = merged[0].block.object().to_owned();
            let mut builder = BlockBuilder::default();
            for held in &merged {
                let dead = Arc::clone(&held.dead);
                builder.append(&held.block, &|row| !dead.contains(row))?;
            }
            let slot = self.free_slot()?;
            let new = (builder.rows() > 0)
                .then(|| self.write(builder, slot, &object))
                .transpose()?;
            for held in &merged {
                self.state.remove(held.slot);
            }
            if let Some(new) = new {
                for (row, record) in new.block.records().iter().enumerate() {
                    let location = u32::from(slot) << 16 | row as u32;
                    self.state.tables.location.set(*record, location);
                }
                self.state.add(new);
            }
        }
        Ok(())
    }

    /// Writes the keys that no file has. A file that is not much larger than the new ones is written again with them, so
    /// that there are few files, and each key is written few times.
    fn save_keys(&mut self, mut entries: Vec<KeyEntry>, of_companies: bool) -> Result<Vec<KeyEntry>, Error> {
        let total = if of_companies {
            self.ids.len()
        } else {
            self.records.len()
        };
        let mut first = entries.last().map_or(0, |last| last.first + last.count);
        if first == total {
            return Ok(entries);
        }
        while let Some(last) = entries.last()
            && last.count < 2 * (total - first)
        {
            first = last.first;
            entries.pop();
        }
        let name = format!("{}.keys", self.file_name());
        let numbers = if of_companies { &self.ids } else { &self.records };
        let keys = &numbers.keys()[first as usize..];
        let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
        self.folder.write(&name, &bytes)?;
        entries.push(KeyEntry {
            first,
            count: total - first,
            file: Some(FileEntry {
                name,
                length: bytes.len() as u64,
                hash: blake3::hash(&bytes).as_bytes().to_vec(),
            }),
        });
        Ok(entries)
    }
}

fn block_entry(held: &Held) -> Result<BlockEntry, Error> {
    let mut dead = Vec::new();
    if !held.dead.is_empty() {
        let rows: roaring::RoaringBitmap = held.dead.iter().collect();
        rows.serialize_into(&mut dead)?;
    }
    Ok(BlockEntry {
        slot: u32::from(held.slot),
        object: held.block.object().to_owned(),
        name: held.name.clone(),
        files: held.files.clone(),
        rows: held.block.rows(),
        dead,
    })
}

/// The keys of these files, in the order of their numbers.
pub(crate) fn read_keys(folder: &Folder, entries: &[KeyEntry]) -> Result<Vec<u128>, Error> {
    let mut keys = Vec::new();
    for entry in entries {
        let Some(file) = &entry.file else { continue };
        folder.sound(&file.name)?;
        let bytes = folder.read(&file.name)?;
        let (chunks, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() || chunks.len() as u64 != u64::from(entry.count) {
            return Err(Error::damaged(
                &file.name,
                "has another length than its manifest says",
            ));
        }
        if entry.first as usize != keys.len() {
            return Err(Error::damaged(&file.name, "does not continue the keys before it"));
        }
        keys.extend(chunks.iter().map(|key| u128::from_le_bytes(*key)));
    }
    Ok(keys)
}

impl Manifest {
    /// The number of rows that its blocks have, dead ones included.
    #[cfg(test)]
    pub(crate) fn rows(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.rows)).sum()
    }
}
