//! Damaged files are errors, or blocks of other values: never panics.

use proptest::prelude::*;

use super::*;
use crate::rows::Rows;

/// Files of a block with every kind of column, by name.
fn files(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut builder = BlockBuilder::default();
    for row in 0..300_u32 {
        builder.row(row, if row % 3 == 0 { u32::MAX } else { row }, &[row / 2, row]);
        builder.int("o/small/", i64::from(row % 5));
        if row % 4 == 0 {
            builder.int("o/large/", i64::from(row) << 40);
        }
        builder.decimal("o/decimal/", &format!("p0{}", row % 7));
        let (text, upper) = (format!("name {row} corp"), format!("Name {row} Corp"));
        builder.words("o/name/", &text);
        builder.texts_as_written("o/name/", &[&text], &[&upper]);
        builder.words("o/kind/", ["red", "blue wood"][row as usize % 2]);
        builder.texts("o/kind/", &[["red", "blue wood"][row as usize % 2]]);
        builder.texts("o/list/", &["a", "b", "c"][..row as usize % 4]);
    }
    let files = builder.write(folder, "1").unwrap();
    files
        .into_iter()
        .map(|file| (file.name.clone(), std::fs::read(folder.join(&file.name)).unwrap()))
        .collect()
}

/// Opens the files and reads everything in them. Whether they could be opened.
fn read(folder: &std::path::Path, files: &[(String, Vec<u8>)]) -> bool {
    let lengths: Vec<(String, u64)> = files
        .iter()
        .map(|(name, bytes)| (name.clone(), bytes.len() as u64))
        .collect();
    let Ok(block) = Block::open(folder, "1", "o", &lengths) else {
        return false;
    };
    assert!(block.rows() <= MOST_ROWS);
    let mut found = Rows::default();
    let paths: Vec<String> = block.paths().map(str::to_owned).collect();
    for path in &paths {
        if let Some(ints) = block.ints(path) {
            ints.range(ints.min().saturating_add(1), ints.max(), &mut found);
            ints.present(&mut found);
        }
        for texts in [block.texts(path), block.decimals(path), block.written(path)]
            .into_iter()
            .flatten()
        {
            texts.range(1, texts.len(), &mut found);
            texts.present(&mut found);
            (0..block.rows()).for_each(|row| {
                texts.all(row).for_each(|ord| {
                    let _ = texts.text(ord);
                });
            });
        }
        if let Some(words) = block.words(path) {
            let _ = words.find("corp");
            (0..words.len()).for_each(|at| words.add(at, &mut found));
        }
    }
    for row in found.iter() {
        assert!(row < block.rows(), "a row that the block does not have");
        let _ = (
            block.records()[row as usize],
            block.companies()[row as usize],
            block.parents(row),
        );
    }
    let mut builder = BlockBuilder::default();
    builder.append(&block, &|_| true).unwrap();
    true
}

#[test]
fn a_shortened_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let whole = files(folder.path());
    assert!(read(folder.path(), &whole));
    for at in 0..whole.len() {
        for length in (0..whole[at].1.len()).step_by(97) {
            let mut cut = whole.clone();
            cut[at].1.truncate(length);
            std::fs::write(folder.path().join(&cut[at].0), &cut[at].1).unwrap();
            assert!(!read(folder.path(), &cut), "{} of {length} bytes", cut[at].0);
            // With the length that was written, the file is not even mapped.
            assert!(!read(folder.path(), &whole));
        }
        std::fs::write(folder.path().join(&whole[at].0), &whole[at].1).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn changed_bytes_never_panic(
        changes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 40)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let whole = files(folder.path());
        for (first, at, byte, near_end) in changes {
            let mut changed = whole.clone();
            let (name, bytes) = &mut changed[usize::from(first)];
            let file = folder.path().join(&*name);
            // The last bytes are the footer, which says where everything is.
            let from = if near_end { bytes.len().saturating_sub(4_000) } else { 0 };
            let place = from + at.index(bytes.len() - from);
            bytes[place] = byte;
            // Another file: the one before may still be mapped.
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, &*bytes).unwrap();
            read(folder.path(), &changed);
            std::fs::write(&file, &whole[usize::from(first)].1).unwrap();
        }
    }
}
