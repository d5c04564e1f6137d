//! A set of the rows of one block.

/// So many 64-bit words hold the rows of a block.
const WORDS: usize = 1_024;

/// A dense set of the rows of one block.
#[derive(Clone, PartialEq, Eq)]
pub struct Rows {
    words: Box<[u64; WORDS]>,
}

impl Default for Rows {
    fn default() -> Self {
        let words = vec![0; WORDS].into_boxed_slice();
        Self {
            words: words.try_into().unwrap_or_else(|_| Box::new([0; WORDS])),
        }
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Rows {
    /// The rows 0 to `count` - 1.
    #[must_use]
    pub fn full(count: u32) -> Self {
        let mut rows = Self::default();
        let (whole, rest) = (count as usize / 64, count % 64);
        rows.words[..whole].fill(u64::MAX);
        if rest > 0 {
            rows.words[whole] = (1 << rest) - 1;
        }
        rows
    }

    /// The set as bits, row 0 in the lowest bit of the first word.
    #[must_use]
    pub fn words(&self) -> &[u64; WORDS] {
        &self.words
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u64; WORDS] {
        &mut self.words
    }

    /// Adds a row.
    pub fn insert(&mut self, row: u32) {
        self.words[row as usize / 64] |= 1 << (row % 64);
    }

    /// Whether it has this row.
    #[must_use]
    pub fn contains(&self, row: u32) -> bool {
        self.words[row as usize / 64] & (1 << (row % 64)) != 0
    }

    /// Whether it has no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Keeps the rows that the other set has, too.
    pub fn and(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word &= other;
        }
    }

    /// Adds the rows of the other set.
    pub fn or(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word |= other;
        }
    }

    /// Removes the rows of the other set.
    pub fn and_not(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(other.words.iter()) {
            *word &= !other;
        }
    }

    /// The rows, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros();
                left &= left - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let mut rows = Rows::full(130);
        assert_eq!(
            (rows.len(), rows.contains(129), rows.contains(130)),
            (130, true, false)
        );
        let mut some = Rows::default();
        [0, 64, 129, 65_534].into_iter().for_each(|row| some.insert(row));
        rows.and(&some);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [0, 64, 129]);
        some.and_not(&rows);
        assert_eq!(some.iter().collect::<Vec<_>>(), [65_534]);
        rows.or(&some);
        assert_eq!(rows.len(), 4);
        assert!(Rows::full(0).is_empty());
    }
}
