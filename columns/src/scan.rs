//! Finds the first companies by one key: the records are visited block by block, best bound first, and of each block only those
//! rows that are better than the last company that is kept.
//!
//! No permutation and no rank is built for a state of an index, so that a small change costs nothing more.

use roaring::RoaringBitmap;

use crate::Error;
use crate::block::{Block, Texts};
use crate::cancel::{check, check_at};
use crate::expr::{Expr, Test};
use crate::numbers::NONE;
use crate::order::{SortKind, SortPath, SortRef};
use crate::rows::Rows;
use crate::search::partition;
use crate::snapshot::Snapshot;
use crate::state::Held;

/// So many rows a company wanted are looked at before the others of a block.
const FIRST: usize = 4;

/// Takes companies.
pub trait Top {
    /// Whether a company is of interest.
    fn wants(&self, company: u32) -> bool;
    /// About how many companies are wanted at once of those that are of interest.
    fn size(&self) -> usize;
    /// The value of the last company that is kept, once as many are kept as are wanted: worse ones are of no interest.
    fn worst(&self) -> Option<SortRef<'_>>;
    /// Takes a company with its value.
    fn offer(&mut self, company: u32, value: SortRef<'_>);
}

impl Snapshot {
    /// Offers each company that is wanted and has a value, unless it is certainly worse than those that are kept, or better
    /// than `from`, where the page before ended. Each company is offered once.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn scan(&self, path: &SortPath, from: Option<SortRef<'_>>, top: &mut impl Top) -> Result<(), Error> {
        let blocks: Vec<&Held> = self.blocks().collect();
        let mut bounded: Vec<(Option<SortRef<'_>>, &Held)> = Vec::new();
        for held in &blocks {
            if has_values(path, &held.block) {
                bounded.push((bound(path, &held.block), held));
            }
        }
        bounded.sort_by(|(a, _), (b, _)| if path.descending { b.cmp(a) } else { a.cmp(b) });
        for (bound, held) in bounded {
            check()?;
            if let (Some(bound), Some(worst)) = (bound, top.worst())
                && path.is_better(worst, bound)
            {
                continue;
            }
            self.scan_block(path, held, from, top)?;
        }
        if path.kind == SortKind::Number {
            self.scan_decimals(path, &blocks, top)?;
        }
        if !path.naming {
            self.scan_several(path, top)?;
        }
        Ok(())
    }

    /// The companies that have a value.
    ///
    /// # Errors
    /// Nobody waits for the result any more.
    pub fn valued(&self, path: &SortPath) -> Result<RoaringBitmap, Error> {
        let set = Expr::Value(path.path.clone(), Test::Set);
        if path.naming {
            self.search_names(&set)
        } else {
            self.search(&set)
        }
    }

    fn scan_block(
        &self,
        path: &SortPath,
        held: &Held,
        from: Option<SortRef<'_>>,
        top: &mut impl Top,
    ) -> Result<(), Error> {
        let block = &*held.block;
        let Some(order) = BlockOrder::of(path, block) else {
            return Ok(());
        };
        let first = from.map_or(i64::MIN, |from| order.first_not_before(from));
        let last = top.worst().map_or(i64::MAX, |worst| order.last_not_behind(worst));
        if first > last {
            return Ok(());
        }
        let mut rows = order.rows(first, last);
        if !held.dead.is_empty() {
            rows.and_not(&held.dead);
        }
        let mut candidates: Vec<(i64, u32)> = Vec::with_capacity(rows.len() as usize);
        candidates.extend(rows.iter().filter_map(|row| Some((order.key(row)?, row))));
        let most = top.size().saturating_mul(FIRST);
        let mut at = 0;
        while at < candidates.len() {
            // The best ones first: after them most others are of no interest.
            let rest = &mut candidates[at..];
            let count = if rest.len() > 2 * most { most } else { rest.len() };
            if count < rest.len() {
                rest.select_nth_unstable(count);
            }
            for (turn, (_, row)) in rest[..count].iter().enumerate() {
                check_at(turn)?;
                self.offer(path, block, *row, top);
            }
            at += count;
            if at < candidates.len()
                && let Some(worst) = top.worst()
            {
                let last = order.last_not_behind(worst);
                let mut rest = candidates.split_off(at);
                rest.retain(|(key, _)| *key <= last);
                candidates = rest;
                at = 0;
            }
        }
        Ok(())
    }

    /// Offers the company of a row, unless another row decides its value.
    fn offer(&self, path: &SortPath, block: &Block, row: u32, top: &mut impl Top) {
        let tables = self.tables();
        let company = block.companies()[row as usize];
        if company == NONE {
            return;
        }
        let decides = if path.naming {
            tables.names(block.records()[row as usize], company)
        } else {
            !tables.is_several(company)
        };
        if !decides {
            return;
        }
        let company = tables.global.get(company);
        if top.wants(company)
            && let Some(value) = path.value(block, row)
        {
            top.offer(company, value);
        }
    }

    /// Numbers that are no scaled numbers are few.
    fn scan_decimals(&self, path: &SortPath, blocks: &[&Held], top: &mut impl Top) -> Result<(), Error> {
        for held in blocks {
            let Some(decimals) = held.block.decimals(&path.path) else {
                continue;
            };
            check()?;
            let mut rows = Rows::default();
            decimals.present(&mut rows);
            rows.and_not(&held.dead);
            for row in rows.iter() {
                self.offer(path, &held.block, row, top);
            }
        }
        Ok(())
    }

    /// The value of a company with several records is the best of theirs.
    fn scan_several(&self, path: &SortPath, top: &mut impl Top) -> Result<(), Error> {
        for (turn, (company, _)) in self.tables().several().enumerate() {
            check_at(turn)?;
            let company = self.tables().global.get(company);
            if top.wants(company)
                && let Some(value) = self.sort_value(path, company)
            {
                top.offer(company, value);
            }
        }
        Ok(())
    }
}

fn has_values(path: &SortPath, block: &Block) -> bool {
    match path.kind {
        SortKind::Text => block.texts(&path.path).is_some(),
        SortKind::Integer | SortKind::Number => block.ints(&path.path).is_some(),
    }
}

/// The best value that a block can have; `None` if that is not known.
fn bound<'a>(path: &'a SortPath, block: &'a Block) -> Option<SortRef<'a>> {
    if path.kind == SortKind::Text {
        let texts = block.texts(&path.path)?;
        if texts.is_empty() || !path.labels.is_empty() {
            return None;
        }
        let ord = if path.descending { texts.len() - 1 } else { 0 };
        return Some(SortRef::Text(crate::order::cut(texts.text(ord))));
    }
    let ints = block.ints(&path.path)?;
    Some(SortRef::Integer(if path.descending {
        ints.max()
    } else {
        ints.min()
    }))
}

/// The order of the rows of a block: keys that ascend as the values come in the order of the page.
enum BlockOrder<'a> {
    Integers(&'a crate::block::Ints, bool),
    Texts(&'a Texts, bool),
    /// Texts with labels: the rank of each text, and the labels by rank.
    Labels(&'a Texts, Vec<u32>, Vec<&'a str>, bool),
}

impl<'a> BlockOrder<'a> {
    fn of(path: &'a SortPath, block: &'a Block) -> Option<Self> {
        let descending = path.descending;
        match path.kind {
            SortKind::Integer | SortKind::Number => Some(Self::Integers(block.ints(&path.path)?, descending)),
            SortKind::Text => {
                let texts = block.texts(&path.path)?;
                if path.labels.is_empty() {
                    return Some(Self::Texts(texts, descending));
                }
                let shown: Vec<&str> = (0..texts.len()).map(|ord| path.text(texts.text(ord))).collect();
                let mut labels = shown.clone();
                labels.sort_unstable();
                labels.dedup();
                let rank = |text: &&str| labels.partition_point(|label| label < text) as u32;
                let ranks = shown.iter().map(rank).collect();
                Some(Self::Labels(texts, ranks, labels, descending))
            }
        }
    }

    fn descending(&self) -> bool {
        match self {
            Self::Integers(_, descending)
            | Self::Texts(_, descending)
            | Self::Labels(_, _, _, descending) => *descending,
        }
    }

    /// A number turned so that ascending keys come in the order of the page.
    fn turned(&self, number: i64) -> i64 {
        if self.descending() { !number } else { number }
    }

    fn key(&self, row: u32) -> Option<i64> {
        let number = match self {
            Self::Integers(ints, _) => ints.get(row)?,
            Self::Texts(texts, _) => i64::from(texts.get(row)?),
            Self::Labels(texts, ranks, _, _) => i64::from(*ranks.get(texts.get(row)? as usize)?),
        };
        Some(self.turned(number))
    }

    /// The positions of a value among those of the block: how many are smaller, and how many are not greater. For integers:
    /// the value itself, and one more.
    fn place(&self, value: SortRef<'_>) -> (i64, i64) {
        match (self, value) {
            (Self::Integers(..), SortRef::Integer(number)) => (number, number.saturating_add(1)),
            // It lies above the number below it.
            (Self::Integers(..), SortRef::Decimal(below, _)) => {
                let above = below.saturating_add(1);
                (above, above)
            }
            (Self::Texts(texts, _), SortRef::Text(text)) => (
                i64::from(partition(texts, |one| crate::order::cut(one) < text)),
                i64::from(partition(texts, |one| crate::order::cut(one) <= text)),
            ),
            (Self::Labels(_, _, labels, _), SortRef::Text(text)) => (
                labels.partition_point(|label| *label < text) as i64,
                labels.partition_point(|label| *label <= text) as i64,
            ),
            // A value of another kind is of another key: nothing is left out.
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// The key of the first value that does not come before this one.
    fn first_not_before(&self, value: SortRef<'_>) -> i64 {
        let (smaller, up_to) = self.place(value);
        match self.descending() {
            false => smaller,
            true => self.turned(up_to.saturating_sub(1)),
        }
    }

    /// The key of the last value that does not come behind this one.
    fn last_not_behind(&self, value: SortRef<'_>) -> i64 {
        let (smaller, up_to) = self.place(value);
        match self.descending() {
            false => up_to.saturating_sub(1),
            true => self.turned(smaller),
        }
    }

    /// The rows whose keys are in this range, both ends included.
    fn rows(&self, first: i64, last: i64) -> Rows {
        let (from, to) = match self.descending() {
            false => (first, last),
            true => (!last, !first),
        };
        let mut rows = Rows::default();
        let ord = |number: i64| u32::try_from(number.clamp(0, i64::from(u32::MAX - 1))).unwrap_or(0);
        match self {
            Self::Integers(ints, _) => ints.range(from, to, &mut rows),
            Self::Texts(texts, _) if to >= 0 => texts.range(ord(from), ord(to), &mut rows),
            Self::Labels(texts, ranks, _, _) => {
                let in_range = |ord: &u32| (from..=to).contains(&i64::from(ranks[*ord as usize]));
                let ords: Vec<u32> = (0..texts.len()).filter(in_range).collect();
                texts.any_of(&ords, &mut rows);
            }
            Self::Texts(..) => {}
        }
        rows
    }
}
