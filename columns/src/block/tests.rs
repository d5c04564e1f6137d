use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::rows::Rows;
use crate::text::words;

/// A row: parents, an integer, a list of texts, and a text with its words.
type Row = (Vec<u32>, Option<i64>, Vec<String>, Option<(String, bool)>);

fn row() -> impl Strategy<Value = Row> {
    (
        prop::collection::vec(0..9_u32, 0..3),
        prop::option::of(prop_oneof![
            -3..3_i64,
            Just(i64::MIN),
            Just(70_000),
            Just(i64::MAX)
        ]),
        prop::collection::vec("[ab\u{e9}]{0,2}", 0..3),
        prop::option::of(("[abC ]{0,4}", any::<bool>())),
    )
}

fn add(to: &mut BlockBuilder, at: u32, (parents, int, list, text): &Row) {
    to.row(at, if at.is_multiple_of(3) { u32::MAX } else { at / 2 }, parents);
    if let Some(int) = int {
        to.int("o/int/", *int);
    }
    if !list.is_empty() {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        to.texts("o/list/", &list);
    }
    if let Some((text, more)) = text {
        let folded = text.to_lowercase();
        to.words("o/text/", &folded);
        if *more {
            to.words("o/text/", "more");
        }
        to.texts_as_written("o/text/", &[&folded], &[text]);
    }
}

fn open(builder: BlockBuilder, folder: &std::path::Path) -> Block {
    let files = builder.write(folder, "1").unwrap();
    let lengths: Vec<_> = files
        .iter()
        .map(|file| (file.name.clone(), file.length))
        .collect();
    Block::open(folder, "1", "o", &lengths).unwrap()
}

fn compare(block: &Block, rows: &[(u32, Row)]) {
    assert_eq!(block.rows() as usize, rows.len());
    let mut of_word: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for (row, (record, (parents, int, list, text))) in rows.iter().enumerate() {
        let at = row as u32;
        assert_eq!(block.records()[row], *record);
        assert_eq!(block.parents(at), parents);
        assert_eq!(block.ints("o/int/").and_then(|ints| ints.get(at)), *int);
        let texts = block.texts("o/list/");
        let found: Vec<&str> = texts
            .iter()
            .flat_map(|texts| texts.all(at).map(|ord| texts.text(ord)))
            .collect();
        assert_eq!(found, *list);
        let texts = block.texts("o/text/");
        let found = texts.and_then(|texts| Some(texts.text(texts.get(at)?)));
        let folded = text.as_ref().map(|(text, _)| text.to_lowercase());
        assert_eq!(found, folded.as_deref());
        let written = block.written("o/text/").or(texts);
        let found = written.and_then(|texts| Some(texts.text(texts.get(at)?)));
        assert_eq!(found, text.as_ref().map(|(text, _)| text.as_str()));
        if let Some((text, more)) = text {
            let folded = text.to_lowercase();
            for word in words(&folded).chain(more.then_some("more")) {
                let rows = of_word.entry(word.to_owned()).or_default();
                if rows.last() != Some(&at) {
                    rows.push(at);
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    if let Some(words) = block.words("o/text/") {
        for at in 0..words.len() {
            let mut rows = Rows::default();
            words.add(at, &mut rows);
            let rows: Vec<u32> = rows.iter().collect();
            if !rows.is_empty() {
                found.insert(words.term(at).to_owned(), rows);
            }
        }
    }
    assert_eq!(found, of_word);
    if let Some(ints) = block.ints("o/int/") {
        for (from, to) in [
            (-1, 1),
            (i64::MIN, 0),
            (70_000, i64::MAX),
            (5, 3),
            (i64::MIN, i64::MAX),
        ] {
            let mut found = Rows::default();
            ints.range(from, to, &mut found);
            let slow = rows
                .iter()
                .enumerate()
                .filter(|(_, (_, row))| row.1.is_some_and(|int| from <= int && int <= to));
            assert_eq!(
                found.iter().collect::<Vec<_>>(),
                slow.map(|(at, _)| at as u32).collect::<Vec<_>>()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_read_is_what_was_written(rows in prop::collection::vec(row(), 1..200)) {
        let folder = tempfile::tempdir().unwrap();
        let mut builder = BlockBuilder::default();
        rows.iter().enumerate().for_each(|(at, row)| add(&mut builder, at as u32, row));
        let block = open(builder, folder.path());
        let numbered: Vec<(u32, Row)> = rows.iter().cloned().enumerate().map(|(at, row)| (at as u32, row)).collect();
        compare(&block, &numbered);
        // Merged with itself, half of it dead.
        let mut merged = BlockBuilder::default();
        let live = |row: u32| row.is_multiple_of(2);
        merged.append(&block, &live).unwrap();
        merged.append(&block, &|row| !live(row)).unwrap();
        let second = tempfile::tempdir().unwrap();
        let (even, odd): (Vec<_>, Vec<_>) = numbered.into_iter().partition(|(at, _)| live(*at));
        compare(&open(merged, second.path()), &[even, odd].concat());
    }
}
