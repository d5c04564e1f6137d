//! Arrays of numbers that snapshots share: a copy costs a pointer for each chunk, a change copies one chunk.

use std::sync::Arc;

use crate::numbers::NONE;

const CHUNK: usize = 16_384;

/// An array that is [`NONE`] wherever nothing was set.
#[derive(Clone, Default)]
pub struct Chunked {
    chunks: Vec<Option<Arc<[u32; CHUNK]>>>,
}

impl Chunked {
    /// The number at this index.
    #[must_use]
    pub fn get(&self, at: u32) -> u32 {
        let at = at as usize;
        match self.chunks.get(at / CHUNK) {
            Some(Some(chunk)) => chunk[at % CHUNK],
            _ => NONE,
        }
    }

    /// Sets the number at this index.
    pub fn set(&mut self, at: u32, to: u32) {
        let at = at as usize;
        if at / CHUNK >= self.chunks.len() {
            self.chunks.resize(at / CHUNK + 1, None);
        }
        let chunk = self.chunks[at / CHUNK].get_or_insert_with(|| Arc::new([NONE; CHUNK]));
        Arc::make_mut(chunk)[at % CHUNK] = to;
    }

    /// One more than the greatest index that can have a number.
    #[must_use]
    pub fn end(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had() {
        let mut one = Chunked::default();
        one.set(40_000, 7);
        let two = one.clone();
        one.set(40_000, 8);
        one.set(3, 1);
        assert_eq!((one.get(40_000), one.get(3), one.get(4)), (8, 1, NONE));
        assert_eq!((two.get(40_000), two.get(3), two.get(900_000)), (7, NONE, NONE));
    }
}
