//! Cells: combinations of buckets, with their companies and measures.

use std::collections::HashMap;

use roaring::RoaringBitmap;

use super::bucket::{Buckets, set_of};
use super::join::Dense;
use super::measure::{Accumulator, Measure};
use super::{Aggregated, Group, Subject};
use crate::Error;

struct Cell {
    buckets: Vec<u32>,
    companies: Vec<u32>,
    records: u64,
    measures: Vec<Accumulator>,
}

pub(super) struct Cells<'a> {
    buckets: Vec<Buckets<'a>>,
    companies: usize,
    empty: Vec<Accumulator>,
    numbers: HashMap<Vec<u32>, usize>,
    cells: Vec<Cell>,
    total: Cell,
}

impl<'a> Cells<'a> {
    pub(super) fn new<'m>(
        buckets: Vec<Buckets<'a>>,
        companies: usize,
        measures: impl Iterator<Item = &'m Measure>,
    ) -> Self {
        let empty: Vec<Accumulator> = measures.map(Accumulator::new).collect();
        let total = Cell {
            buckets: Vec::new(),
            companies: Vec::new(),
            records: 0,
            measures: empty.clone(),
        };
        Self {
            buckets,
            companies,
            empty,
            numbers: HashMap::new(),
            cells: Vec::new(),
            total,
        }
    }

    fn cell(&mut self, buckets: &[u32]) -> usize {
        if let Some(number) = self.numbers.get(buckets) {
            return *number;
        }
        let number = self.cells.len();
        self.cells.push(Cell {
            buckets: buckets.to_vec(),
            companies: Vec::new(),
            records: 0,
            measures: self.empty.clone(),
        });
        self.numbers.insert(buckets.to_vec(), number);
        number
    }

    /// Adds the cells of the combinations of these buckets of each dimension.
    fn cells_of(&mut self, of: &[Vec<u32>], to: &mut Vec<usize>) {
        match of {
            [] => {}
            [one] => to.extend(one.iter().map(|bucket| self.cell(&[*bucket])).collect::<Vec<_>>()),
            [first, second, ..] => {
                for a in first {
                    for b in second {
                        let cell = self.cell(&[*a, *b]);
                        to.push(cell);
                    }
                }
            }
        }
    }

    /// Counts and measures the records of the subject.
    pub(super) fn fill(
        &mut self,
        subject: &Subject<'_>,
        matched: &RoaringBitmap,
        measures: &[(usize, &Measure)],
    ) -> Result<(), Error> {
        let matched = Dense::of(matched, self.companies);
        let this = std::cell::RefCell::new(self);
        let (mut numbers, mut cells) = (vec![Vec::new(); 2], Vec::new());
        subject.each(
            &matched,
            |block| {
                let mut this = this.borrow_mut();
                let buckets: Vec<_> = this
                    .buckets
                    .iter_mut()
                    .map(|buckets| buckets.begin(block))
                    .collect();
                let measured: Vec<_> = measures
                    .iter()
                    .map(|(at, measure)| (*at, measure.begin(block)))
                    .collect();
                (buckets, measured)
            },
            |(blocks, measured), row, companies| {
                let this = &mut **this.borrow_mut();
                // Where companies decide the bucket, each of them is in the cells of its own buckets only.
                let apart = this.buckets.iter().any(Buckets::is_of_companies);
                let most = if apart { 1 } else { companies.len() };
                cells.clear();
                for companies in companies.chunks(most) {
                    for ((buckets, block), numbers) in
                        this.buckets.iter_mut().zip(blocks.iter_mut()).zip(&mut numbers)
                    {
                        buckets.of_row(block, row, companies, numbers);
                        for number in numbers.iter_mut() {
                            *number = buckets.keep_of(*number);
                        }
                        numbers.sort_unstable();
                        numbers.dedup();
                    }
                    let begin = cells.len();
                    this.cells_of(&numbers[..this.buckets.len()], &mut cells);
                    for cell in &cells[begin..] {
                        this.cells[*cell].companies.extend_from_slice(companies);
                    }
                }
                cells.sort_unstable();
                cells.dedup();
                for (buckets, block) in this.buckets.iter_mut().zip(blocks.iter()) {
                    buckets.note_spelling(block, row);
                }
                this.total.records += 1;
                for cell in &cells {
                    this.cells[*cell].records += 1;
                }
                for (at, measure) in measured.iter() {
                    measure.add(row, std::iter::once(&mut this.total.measures[*at]));
                    for cell in &cells {
                        measure.add(row, std::iter::once(&mut this.cells[*cell].measures[*at]));
                    }
                }
            },
        )
    }

    /// Counts companies where no records are counted.
    pub(super) fn fill_companies(&mut self, matched: &RoaringBitmap) -> Result<(), Error> {
        let mut of_dimension: Vec<Vec<(u32, RoaringBitmap)>> = Vec::new();
        for buckets in &mut self.buckets {
            of_dimension.push(buckets.companies(matched));
        }
        let mut add = |buckets: &[u32], set: &RoaringBitmap| {
            if !set.is_empty() {
                let cell = self.cell(buckets);
                self.cells[cell].companies.extend(set);
            }
        };
        match of_dimension.as_slice() {
            [one] => one.iter().for_each(|(bucket, set)| add(&[*bucket], set)),
            [first, second] => {
                for (a, of_a) in first {
                    for (b, of_b) in second {
                        add(&[*a, *b], &(of_a & of_b));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn total_companies(&mut self, matched: &RoaringBitmap) {
        self.total.companies = matched.iter().collect();
    }

    /// Measures records of other objects: in each cell those that have one of its companies.
    pub(super) fn measure_through_companies(
        &mut self,
        measures: &[(usize, &Measure, &Subject<'_>)],
        matched: &RoaringBitmap,
    ) -> Result<(), Error> {
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        for (number, cell) in self.cells.iter().enumerate() {
            pairs.extend(cell.companies.iter().map(|company| (*company, number as u32)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        let of = |company: u32| {
            let from = pairs.partition_point(|(one, _)| *one < company);
            pairs[from..]
                .iter()
                .take_while(move |(one, _)| *one == company)
                .map(|(_, cell)| *cell as usize)
        };
        let matched = Dense::of(matched, self.companies);
        let mut cells: Vec<usize> = Vec::new();
        for (at, measure, subject) in measures {
            subject.each(
                &matched,
                |block| measure.begin(block),
                |block, row, companies| {
                    block.add(row, std::iter::once(&mut self.total.measures[*at]));
                    cells.clear();
                    companies.iter().for_each(|company| cells.extend(of(*company)));
                    cells.sort_unstable();
                    cells.dedup();
                    for cell in &cells {
                        block.add(row, std::iter::once(&mut self.cells[*cell].measures[*at]));
                    }
                },
            )?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Aggregated {
        let Self {
            buckets,
            mut cells,
            total,
            ..
        } = self;
        cells.sort_by(|a, b| {
            let by_bucket = buckets.iter().zip(a.buckets.iter().zip(&b.buckets));
            let mut orders = by_bucket.map(|(buckets, (a, b))| buckets.order(*a, *b));
            orders
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        let group = |cell: Cell| Group {
            shown: cell
                .buckets
                .iter()
                .zip(&buckets)
                .map(|(bucket, of)| of.shown(*bucket))
                .collect(),
            buckets: cell
                .buckets
                .iter()
                .zip(&buckets)
                .map(|(bucket, of)| of.bucket(*bucket))
                .collect(),
            companies: set_of(cell.companies).len(),
            records: cell.records,
            results: cell.measures.into_iter().map(Accumulator::finish).collect(),
        };
        Aggregated {
            groups: cells.into_iter().map(group).collect(),
            total: group(total),
        }
    }
}
