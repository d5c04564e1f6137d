//! Dense numbers for 128-bit keys: the records and the companies of an index.

use hashbrown::HashTable;

/// Marks a missing number.
pub const NONE: u32 = u32::MAX;

/// Gives each key a number: 0, 1, 2 and so on. A number is never given to another key.
#[derive(Default)]
pub struct Numbers {
    keys: Vec<u128>,
    /// The numbers, by the hash of their keys.
    table: HashTable<u32>,
}

/// Keys are hashes or UUIDs: their low bits are distributed evenly enough.
fn hash(key: u128) -> u64 {
    (key as u64) ^ (key >> 64) as u64
}

impl Numbers {
    /// Numbers of these keys, in their order.
    #[must_use]
    pub fn of(keys: Vec<u128>) -> Self {
        let mut table = HashTable::with_capacity(keys.len());
        for (number, key) in keys.iter().enumerate() {
            table.insert_unique(hash(*key), number as u32, |number| hash(keys[*number as usize]));
        }
        Self { keys, table }
    }

    /// The number of a key, if it has one.
    #[must_use]
    pub fn find(&self, key: u128) -> Option<u32> {
        let is = |number: &u32| self.keys[*number as usize] == key;
        self.table.find(hash(key), is).copied()
    }

    /// The number of a key; a new one, if it has none.
    pub fn number(&mut self, key: u128) -> u32 {
        if let Some(number) = self.find(key) {
            return number;
        }
        let number = self.keys.len() as u32;
        self.keys.push(key);
        let keys = &self.keys;
        self.table
            .insert_unique(hash(key), number, |number| hash(keys[*number as usize]));
        number
    }

    /// How many numbers were given.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.keys.len() as u32
    }

    /// The keys, by their numbers.
    #[must_use]
    pub fn keys(&self) -> &[u128] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_keeps_its_number() {
        let mut numbers = Numbers::default();
        let key = |at: u128| at.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        for at in 0..10_000 {
            assert_eq!(numbers.number(key(at)), at as u32);
        }
        for at in (0..10_000).rev() {
            assert_eq!(numbers.number(key(at)), at as u32);
        }
        let again = Numbers::of(numbers.keys().to_vec());
        assert_eq!((again.find(key(77)), again.find(key(10_000))), (Some(77), None));
        assert_eq!(again.len(), 10_000);
    }
}
