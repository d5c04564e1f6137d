//! Which blocks a commit merges.

use std::collections::BTreeMap;

use crate::block::MOST_ROWS;
use crate::state::{Held, State};

/// So many blocks of about the same size become one.
const BLOCKS: usize = 8;
/// A commit merges at most so many times, so that changes are searchable soon. The next commit goes on.
const MERGES: usize = 2;

/// The rows of a block that are not dead.
fn live(held: &Held) -> u32 {
    held.block.rows() - held.dead.len().min(held.block.rows())
}

/// The blocks that become one block, for each merge. A block of which a quarter is dead is written again alone or with others;
/// of an object's blocks of one size class, eight become one. So each row is written about three times until its block
/// is full.
pub(crate) fn choose(state: &State) -> Vec<Vec<Held>> {
    let mut objects: BTreeMap<&str, Vec<&Held>> = BTreeMap::new();
    for held in state.blocks() {
        objects.entry(held.block.object()).or_default().push(held);
    }
    let mut merges = Vec::new();
    for mut blocks in objects.into_values() {
        blocks.sort_by_key(|held| live(held));
        let worn: Vec<&Held> = blocks
            .iter()
            .copied()
            .filter(|held| (held.block.rows() - live(held)) * 4 > held.block.rows())
            .collect();
        if !worn.is_empty() {
            merges.push(fitting(&worn));
            continue;
        }
        let class = |held: &Held| live(held).max(1).ilog(BLOCKS as u32);
        for group in blocks.chunk_by(|a, b| class(a) == class(b)) {
            if group.len() >= BLOCKS {
                let merged = fitting(group);
                if merged.len() > 1 {
                    merges.push(merged);
                    break;
                }
            }
        }
    }
    merges.truncate(MERGES);
    merges
}

/// The first of these blocks, as many as fit into one.
fn fitting(blocks: &[&Held]) -> Vec<Held> {
    let mut rows = 0;
    let mut fitting = Vec::new();
    for held in blocks {
        rows += live(held);
        if rows > MOST_ROWS {
            break;
        }
        fitting.push((*held).clone());
    }
    fitting
}
