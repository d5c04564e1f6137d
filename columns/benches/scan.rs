//! Scans of Arrow blocks in mapped files against the same scans of plain vectors, and the cost of building a block.
//!
//! `cargo bench -p tether-columns --bench scan`: one JSON object. Times are of one processor, the median of 21 runs; those of
//! scans are milliseconds for 1,000,000 rows, those of building microseconds a row of 30 fields, with writing and fsync.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints its result"
)]

use std::hint::black_box;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tether_columns::block::{Block, MOST_ROWS};
use tether_columns::{BlockBuilder, Rows};

const ROWS: u32 = 1_000_000;
const GROUPS: usize = 200;

fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let begin = Instant::now();
            run();
            begin.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[10]
}

fn open(folder: &std::path::Path, name: &str, builder: BlockBuilder) -> Block {
    let files = builder.write(folder, name).unwrap();
    let lengths: Vec<_> = files
        .iter()
        .map(|file| (file.name.clone(), file.length))
        .collect();
    Block::open(folder, name, "Account", &lengths).unwrap()
}

/// Rows of the values from `from` to `to`, in plain memory.
fn plain<T: Copy + PartialOrd>(values: &[T], from: T, to: T, rows: &mut Rows) {
    for (at, chunk) in values.chunks(64).enumerate() {
        let mut bits = 0_u64;
        for (bit, value) in chunk.iter().enumerate() {
            bits |= u64::from((from <= *value) & (*value <= to)) << bit;
        }
        if bits != 0 {
            (0..64)
                .filter(|bit| bits >> bit & 1 == 1)
                .for_each(|bit| rows.insert(at as u32 * 64 + bit));
        }
    }
}

fn scans(folder: &std::path::Path, random: &mut StdRng) -> Vec<(&'static str, f64, f64)> {
    let (mut blocks, mut plain_blocks) = (Vec::new(), Vec::new());
    let mut left = ROWS;
    while left > 0 {
        let count = left.min(MOST_ROWS);
        left -= count;
        let mut builder = BlockBuilder::default();
        let (mut ords, mut ints) = (Vec::new(), Vec::new());
        for row in 0..count {
            let (ord, int) = (
                random.random_range(0..GROUPS as u16),
                random.random_range(0..2_000_000_000_i32),
            );
            builder.row(row, row, &[]);
            builder.texts("Account/Industry/", &[&format!("industry {ord:03}")]);
            builder.int("Account/Revenue/", i64::from(int));
            ords.push(ord);
            ints.push(int);
        }
        blocks.push(open(folder, &format!("scan{}", blocks.len()), builder));
        plain_blocks.push((ords, ints));
    }
    let of_texts = |block: &'_ Block| block.texts("Account/Industry/").unwrap().len() as usize;
    assert!(blocks.iter().all(|block| of_texts(block) == GROUPS));
    let equality = (
        median(|| {
            for block in &blocks {
                let (texts, mut rows) = (block.texts("Account/Industry/").unwrap(), Rows::default());
                let ord = texts.ord("industry 017").unwrap();
                texts.range(ord, ord, &mut rows);
                black_box(rows.len());
            }
        }),
        median(|| {
            for (ords, _) in &plain_blocks {
                let mut rows = Rows::default();
                plain(ords, 17, 17, &mut rows);
                black_box(rows.len());
            }
        }),
    );
    let range = (
        median(|| {
            for block in &blocks {
                let mut rows = Rows::default();
                let ints = block.ints("Account/Revenue/").unwrap();
                ints.range(1_000_000, 20_000_000, &mut rows);
                black_box(rows.len());
            }
        }),
        median(|| {
            for (_, ints) in &plain_blocks {
                let mut rows = Rows::default();
                plain(ints, 1_000_000, 20_000_000, &mut rows);
                black_box(rows.len());
            }
        }),
    );
    let group = (
        median(|| {
            for block in &blocks {
                let (texts, ints) = (
                    block.texts("Account/Industry/").unwrap(),
                    block.ints("Account/Revenue/").unwrap(),
                );
                let mut sums = vec![0_i128; GROUPS];
                for row in 0..block.rows() {
                    if let (Some(ord), Some(int)) = (texts.get(row), ints.get(row)) {
                        sums[ord as usize] += i128::from(int);
                    }
                }
                black_box(sums);
            }
        }),
        median(|| {
            for (ords, ints) in &plain_blocks {
                let mut sums = vec![0_i128; GROUPS];
                for (ord, int) in ords.iter().zip(ints) {
                    sums[usize::from(*ord)] += i128::from(*int);
                }
                black_box(sums);
            }
        }),
    );
    vec![
        ("equality", equality.0, equality.1),
        ("range", range.0, range.1),
        ("group", group.0, group.1),
    ]
}

/// A full block of accounts of 30 fields: a name with words, a description, picklists, times, numbers, ids.
fn building(folder: &std::path::Path, random: &mut StdRng) -> (f64, f64, f64) {
    let paths: Vec<String> = (0..30).map(|at| format!("Account/Field{at}__c/")).collect();
    let rows: Vec<(Vec<String>, Vec<i64>)> = (0..MOST_ROWS)
        .map(|row| {
            let word = |random: &mut StdRng| format!("word{}", random.random_range(0..20_000));
            let mut texts = vec![format!("{} {} {row}", word(random), word(random))];
            texts.push((0..8).map(|_| word(random)).collect::<Vec<_>>().join(" "));
            texts.extend((0..4).map(|_| format!("0015g00000{:08}", random.random_range(0..9_999_999))));
            texts.extend((0..12).map(|at| format!("pick {}", random.random_range(0..10 * (at + 1)))));
            (
                texts,
                (0..12).map(|at| random.random_range(0..10_i64.pow(at))).collect(),
            )
        })
        .collect();
    let begin = Instant::now();
    let mut builder = BlockBuilder::default();
    for (row, (texts, ints)) in rows.iter().enumerate() {
        builder.row(row as u32, row as u32, &[]);
        for (at, text) in texts.iter().enumerate() {
            if at < 2 {
                builder.words(&paths[at], text);
            }
            builder.texts(&paths[at], &[text]);
        }
        for (at, int) in ints.iter().enumerate() {
            builder.int(&paths[texts.len() + at], *int);
        }
    }
    let collected = begin.elapsed().as_secs_f64();
    let bytes = builder.bytes() as f64 / 1e6;
    let block = open(folder, "build", builder);
    let written = begin.elapsed().as_secs_f64() - collected;
    assert_eq!(block.rows(), MOST_ROWS);
    let each = 1e6 / f64::from(MOST_ROWS);
    (collected * each, written * each, bytes)
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(13);
    let scans: Vec<String> = scans(folder.path(), &mut random)
        .into_iter()
        .map(|(name, arrow, plain)| format!("\"{name}\":{{\"arrow_ms\":{arrow:.3},\"plain_ms\":{plain:.3}}}"))
        .collect();
    let (collect, write, megabytes) = building(folder.path(), &mut random);
    println!(
        "{{\"rows\":{ROWS},{},\"building\":{{\"collect_us\":{collect:.2},\"write_and_open_us\":{write:.2},\"estimated_mb\":{megabytes:.1}}}}}",
        scans.join(",")
    );
}
