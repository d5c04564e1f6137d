//! Numbers that are given to libraries and are unlikely to be guessed by mistake.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Generates unique numbers that are far apart: if a library passes a number that is off by one or invented, it does
/// not match the call or instance of another library.
#[derive(Debug)]
pub(super) struct Numbers(AtomicU64);

impl Default for Numbers {
    fn default() -> Self {
        Self(AtomicU64::new(RandomState::new().hash_one(0)))
    }
}

impl Numbers {
    /// The next number.
    pub(super) fn next(&self) -> u64 {
        // The finalizer of SplitMix64: a bijection that maps neighbouring numbers far apart.
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn what_is_beside_a_number_is_nobodys() {
        let numbers = Numbers::default();
        let given: HashSet<u64> = (0..1_000).map(|_| numbers.next()).collect();
        assert_eq!(given.len(), 1_000);
        for number in &given {
            let beside = (1..=64).flat_map(|by| [number.wrapping_add(by), number.wrapping_sub(by)]);
            assert!(beside.into_iter().all(|other| !given.contains(&other)));
        }
        assert!((0..100_000).all(|small| !given.contains(&small)));
    }
}
