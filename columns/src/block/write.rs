//! Writes the rows that were collected as Arrow IPC files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::types::{UInt16Type, UInt32Type};
use arrow_array::{
    ArrayRef, DictionaryArray, Int8Array, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, UInt16Array, UInt32Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::builder::{BlockBuilder, PathBuilder};
use super::text_builder::{Interner, TextBuilder};
use super::words::{Postings, WordLists};
use super::{COMPANY, PARENTS, RECORD};
use crate::Error;
use crate::folder::HASH;

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its name.
    pub name: String,
    /// Its length, in bytes.
    pub length: u64,
    /// BLAKE3 of its content.
    pub hash: [u8; HASH],
}

/// A file whose content is hashed while it is written.
struct Hashed {
    file: File,
    hasher: blake3::Hasher,
    length: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

pub(super) fn of_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, error) => Error::Io(error),
        other => Error::Broken(other.to_string()),
    }
}

fn write_file(folder: &Path, name: String, batch: &RecordBatch) -> Result<Written, Error> {
    let file = Hashed {
        file: File::create(folder.join(&name))?,
        hasher: blake3::Hasher::new(),
        length: 0,
    };
    let buffered = BufWriter::with_capacity(1 << 18, file);
    let mut writer = FileWriter::try_new(buffered, &batch.schema()).map_err(of_arrow)?;
    writer.write(batch).map_err(of_arrow)?;
    let buffered = writer.into_inner().map_err(of_arrow)?;
    let file = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.file.sync_all()?;
    Ok(Written {
        name,
        length: file.length,
        hash: *file.hasher.finalize().as_bytes(),
    })
}

/// The columns of a batch.
#[derive(Default)]
struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn add(&mut self, name: String, array: ArrayRef, metadata: &[(&str, String)]) {
        let metadata: HashMap<String, String> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        let field = Field::new(name, array.data_type().clone(), true).with_metadata(metadata);
        self.fields.push(field);
        self.arrays.push(array);
    }

    fn batch(self) -> Result<RecordBatch, Error> {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays).map_err(of_arrow)
    }
}

impl BlockBuilder {
    /// Writes the files of the block and makes their content durable.
    ///
    /// # Errors
    /// The operating system failed.
    pub fn write(mut self, folder: &Path, name: &str) -> Result<Vec<Written>, Error> {
        self.settle();
        let rows = self.records.len();
        let mut columns = Columns::default();
        let mut lists = WordLists::default();
        let array = |numbers: &[u32]| Arc::new(UInt32Array::from(numbers.to_vec())) as ArrayRef;
        columns.add(RECORD.to_owned(), array(&self.records), &[]);
        columns.add(COMPANY.to_owned(), array(&self.companies), &[]);
        let lengths = std::iter::once(0).chain(self.parent_ends.iter().copied());
        let offsets = OffsetBuffer::new(lengths.collect::<Vec<i32>>().into());
        let item = Arc::new(Field::new("item", DataType::UInt32, true));
        let parents = ListArray::try_new(item, offsets, array(&self.parents), None).map_err(of_arrow)?;
        columns.add(PARENTS.to_owned(), Arc::new(parents), &[]);
        let mut paths = std::mem::take(&mut self.paths);
        paths.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (path, of) in paths {
            write_path(&path, of, rows, &mut columns, &mut lists)?;
        }
        let mut written = vec![write_file(folder, format!("{name}.rows"), &columns.batch()?)?];
        if !lists.is_empty() {
            written.push(write_words(folder, name, lists)?);
        }
        Ok(written)
    }
}

fn write_path(
    path: &str,
    of: PathBuilder,
    rows: usize,
    columns: &mut Columns,
    lists: &mut WordLists,
) -> Result<(), Error> {
    if !of.ints.is_empty() {
        let (array, min, max) = integers(&of.ints, rows);
        columns.add(
            format!("{path}#i"),
            array,
            &[("min", min.to_string()), ("max", max.to_string())],
        );
    }
    if !of.decimals.entries.is_empty() {
        columns.add(format!("{path}#d"), texts(&of.decimals, rows)?, &[]);
    }
    let mut is_derived = false;
    if let Some(derived) = &of.derived {
        let distinct = of.texts.texts.len();
        let few = distinct <= super::words::MOST_DERIVED && distinct * 4 <= rows;
        is_derived = few && of.words.len() == 0;
        if !is_derived {
            lists.add_derived(path, &of.texts, derived);
        }
    }
    lists.add(path, &of.words, &of.word_rows);
    if !of.texts.entries.is_empty() {
        let words: &[_] = if is_derived {
            &[("words", "derived".to_owned())]
        } else {
            &[]
        };
        columns.add(format!("{path}#t"), texts(&of.texts, rows)?, words);
    }
    if !of.shown.entries.is_empty() {
        columns.add(format!("{path}#s"), texts(&of.shown, rows)?, &[]);
    }
    Ok(())
}

/// Integers in the narrowest type that holds them, with the smallest and the greatest.
fn integers(values: &[(u16, i64)], rows: usize) -> (ArrayRef, i64, i64) {
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    let mut dense = vec![0_i64; rows];
    let mut present = vec![false; rows];
    for (row, value) in values {
        (min, max) = (min.min(*value), max.max(*value));
        dense[usize::from(*row)] = *value;
        present[usize::from(*row)] = true;
    }
    let nulls = (values.len() < rows).then(|| NullBuffer::from(present));
    let fits = |from: i64, to: i64| from <= min && max <= to;
    let array: ArrayRef = if fits(i64::from(i8::MIN), i64::from(i8::MAX)) {
        Arc::new(Int8Array::new(
            dense.iter().map(|value| *value as i8).collect(),
            nulls,
        ))
    } else if fits(i64::from(i16::MIN), i64::from(i16::MAX)) {
        Arc::new(Int16Array::new(
            dense.iter().map(|value| *value as i16).collect(),
            nulls,
        ))
    } else if fits(i64::from(i32::MIN), i64::from(i32::MAX)) {
        Arc::new(Int32Array::new(
            dense.iter().map(|value| *value as i32).collect(),
            nulls,
        ))
    } else {
        Arc::new(Int64Array::new(dense.into(), nulls))
    };
    (array, min, max)
}

/// The sorted dictionary of texts.
fn dictionary(texts: &Interner, order: &[u32]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(
        order.iter().map(|number| texts.get(*number)),
    ))
}

fn texts(of: &TextBuilder, rows: usize) -> Result<ArrayRef, Error> {
    let (order, places) = of.texts.sorted();
    let dictionary = dictionary(&of.texts, &order);
    let mut present = vec![false; rows];
    of.entries
        .iter()
        .for_each(|(row, _)| present[usize::from(*row)] = true);
    let nulls = (!present.iter().all(|present| *present)).then(|| NullBuffer::from(present));
    if of.is_list() {
        let mut ends = vec![0_i32; rows + 1];
        of.entries
            .iter()
            .for_each(|(row, _)| ends[usize::from(*row) + 1] += 1);
        for at in 1..ends.len() {
            ends[at] += ends[at - 1];
        }
        let keys = of.entries.iter().map(|(_, text)| places[*text as usize]);
        let keys = UInt32Array::from_iter_values(keys);
        let values = DictionaryArray::<UInt32Type>::try_new(keys, dictionary).map_err(of_arrow)?;
        let item = Arc::new(Field::new(
            "item",
            arrow_array::Array::data_type(&values).clone(),
            true,
        ));
        let offsets = OffsetBuffer::new(ends.into());
        let list = ListArray::try_new(item, offsets, Arc::new(values), nulls).map_err(of_arrow)?;
        return Ok(Arc::new(list));
    }
    let mut keys = vec![0_u16; rows];
    for (row, text) in &of.entries {
        keys[usize::from(*row)] = places[*text as usize] as u16;
    }
    let keys = UInt16Array::new(keys.into(), nulls);
    Ok(Arc::new(
        DictionaryArray::<UInt16Type>::try_new(keys, dictionary).map_err(of_arrow)?,
    ))
}

fn write_words(folder: &Path, name: &str, lists: WordLists) -> Result<Written, Error> {
    let mut columns = Columns::default();
    let (mut paths, mut terms) = (Vec::new(), Vec::new());
    let mut rows = BinaryBuilder::new();
    let mut ranges = String::new();
    for (path, words) in lists.into_paths() {
        let first = terms.len();
        for (term, list) in words {
            paths.push(path.clone());
            terms.push(term);
            rows.append_value(Postings::encode(&list));
        }
        ranges.push_str(&format!("{path}\t{first}\t{}\n", terms.len()));
    }
    let paths: DictionaryArray<UInt32Type> = paths.iter().map(String::as_str).collect();
    columns.add("path".to_owned(), Arc::new(paths), &[]);
    columns.add(
        "word".to_owned(),
        Arc::new(StringArray::from(terms)),
        &[("ranges", ranges)],
    );
    columns.add("rows".to_owned(), Arc::new(rows.finish()), &[]);
    write_file(folder, format!("{name}.words"), &columns.batch()?)
}
