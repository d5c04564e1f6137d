//! Collects the texts of one path.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// Distinct texts, numbered in the order in which they came.
#[derive(Default)]
pub(super) struct Interner {
    bytes: String,
    /// Where each text ends.
    ends: Vec<u32>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Interner {
    pub(super) fn get(&self, at: u32) -> &str {
        let at = at as usize;
        let from = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[from..self.ends[at] as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn number(&mut self, text: &str) -> u32 {
        let hash = self.hasher.hash_one(text);
        if let Some(number) = self.table.find(hash, |number| self.get(*number) == text) {
            return *number;
        }
        let number = self.ends.len() as u32;
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len() as u32);
        let Self {
            bytes,
            ends,
            table,
            hasher,
        } = self;
        let get = |at: u32| {
            let at = at as usize;
            let from = if at == 0 { 0 } else { ends[at - 1] as usize };
            &bytes[from..ends[at] as usize]
        };
        table.insert_unique(hash, number, |number| hasher.hash_one(get(*number)));
        number
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity() + 4 * self.ends.capacity() + 5 * self.table.capacity()
    }

    /// The texts sorted, and the place of each number among them.
    pub(super) fn sorted(&self) -> (Vec<u32>, Vec<u32>) {
        let mut order: Vec<u32> = (0..self.len() as u32).collect();
        order.sort_unstable_by_key(|number| self.get(*number));
        let mut places = vec![0; order.len()];
        for (place, number) in order.iter().enumerate() {
            places[*number as usize] = place as u32;
        }
        (order, places)
    }
}

/// The texts of one path: for each entry its row and the number of its text, rows ascending.
#[derive(Default)]
pub(super) struct TextBuilder {
    pub(super) texts: Interner,
    pub(super) entries: Vec<(u16, u32)>,
}

impl TextBuilder {
    pub(super) fn add(&mut self, row: u16, text: &str) {
        let number = self.texts.number(text);
        self.entries.push((row, number));
    }

    pub(super) fn bytes(&self) -> usize {
        self.texts.bytes() + 8 * self.entries.capacity()
    }

    /// Whether a row has several entries.
    pub(super) fn is_list(&self) -> bool {
        self.entries.windows(2).any(|pair| pair[0].0 == pair[1].0)
    }
}
