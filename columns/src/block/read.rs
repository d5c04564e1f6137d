//! Opens the files of a block. What the rest of the crate relies on is checked here, once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Int8Type, Int16Type, Int32Type, Int64Type, UInt16Type, UInt32Type,
};
use arrow_array::{Array, BinaryArray, RecordBatch, StringArray};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_schema::{ArrowError, DataType, Field};

use super::column::{Ints, Ords, Texts, Width};
use super::words::{Derived, Form, Words, check};
use super::{COMPANY, MOST_ROWS, PARENTS, RECORD};
use crate::Error;
use crate::map::map;

/// The columns of a path.
#[derive(Default)]
struct Columns {
    ints: Option<Ints>,
    decimals: Option<Texts>,
    texts: Option<Texts>,
    written: Option<Texts>,
    /// Its words are found by looking through its texts; made when they are needed.
    derived: Option<OnceLock<Derived>>,
}

/// The words file.
struct Stored {
    terms: StringArray,
    rows: BinaryArray,
    /// By path, the first and the end of its words.
    ranges: BTreeMap<String, (u32, u32)>,
}

/// A block, mapped into memory.
pub struct Block {
    object: String,
    rows: u32,
    records: ScalarBuffer<u32>,
    companies: ScalarBuffer<u32>,
    parent_ends: OffsetBuffer<i32>,
    parents: ScalarBuffer<u32>,
    paths: BTreeMap<String, Columns>,
    words: Option<Stored>,
}

impl Block {
    /// Opens the files of a block of this object, given with their lengths. The caller has compared them with their hashes.
    /// Blocks.
    ///
    /// # Errors
    /// A file is not what this crate writes, or the operating system failed.
    pub fn open(folder: &Path, name: &str, object: &str, lengths: &[(String, u64)]) -> Result<Self, Error> {
        let mut block = None;
        let mut words = None;
        for (file, length) in lengths {
            let buffer = map(&folder.join(file), *length)?;
            let batch = batch(&buffer).map_err(|error| Error::damaged(file, error))?;
            if file.ends_with(".words") {
                words = Some(stored(&batch).ok_or_else(|| Error::damaged(file, "is no file of words"))?);
            } else {
                let rows = rows(&batch, object).ok_or_else(|| Error::damaged(file, "is no file of rows"))?;
                block = Some(rows);
            }
        }
        let mut block: Self = block.ok_or_else(|| Error::damaged(name, "has no rows"))?;
        if let Some(words) = words {
            let ranges: Vec<(String, u32, u32)> = words
                .ranges
                .iter()
                .map(|(path, (from, to))| (path.clone(), *from, *to))
                .collect();
            if !check(&words.terms, &words.rows, &ranges, block.rows) {
                return Err(Error::damaged(name, "has damaged words"));
            }
            block.words = Some(words);
        }
        Ok(block)
    }

    /// The object of its records.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// By row, the number of the record.
    #[must_use]
    pub fn records(&self) -> &[u32] {
        &self.records
    }

    /// By row, the local number of the company; [`u32::MAX`] if the record is no company record.
    #[must_use]
    pub fn companies(&self) -> &[u32] {
        &self.companies
    }

    /// The numbers of the parents of a row.
    #[must_use]
    pub fn parents(&self, row: u32) -> &[u32] {
        let row = row as usize;
        &self.parents[self.parent_ends[row] as usize..self.parent_ends[row + 1] as usize]
    }

    /// The paths of its values.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.keys().map(String::as_str)
    }

    /// The paths that have words.
    pub(crate) fn worded(&self) -> Vec<&str> {
        let stored = self.words.iter().flat_map(|words| words.ranges.keys());
        let derived = self
            .paths
            .iter()
            .filter(|(_, of)| of.derived.is_some())
            .map(|(path, _)| path);
        stored.chain(derived).map(String::as_str).collect()
    }

    /// The integers at a path.
    #[must_use]
    pub fn ints(&self, path: &str) -> Option<&Ints> {
        self.paths.get(path)?.ints.as_ref()
    }

    /// The decimals at a path that are no scaled numbers.
    #[must_use]
    pub fn decimals(&self, path: &str) -> Option<&Texts> {
        self.paths.get(path)?.decimals.as_ref()
    }

    /// The folded texts at a path.
    #[must_use]
    pub fn texts(&self, path: &str) -> Option<&Texts> {
        self.paths.get(path)?.texts.as_ref()
    }

    /// The texts at a path as they were written; `None` if all are as folded.
    #[must_use]
    pub fn written(&self, path: &str) -> Option<&Texts> {
        self.paths.get(path)?.written.as_ref()
    }

    /// The words at a path.
    #[must_use]
    pub fn words(&self, path: &str) -> Option<Words<'_>> {
        if let Some(stored) = &self.words
            && let Some((from, to)) = stored.ranges.get(path)
        {
            let form = Form::Stored(&stored.terms, &stored.rows, *from, *to);
            return Some(Words { form });
        }
        let columns = self.paths.get(path)?;
        let texts = columns.texts.as_ref()?;
        let derived = columns.derived.as_ref()?.get_or_init(|| Derived::of(texts));
        Some(Words {
            form: Form::Derived(derived, texts),
        })
    }
}

/// The batch of an Arrow IPC file; its columns are in the file's memory.
fn batch(file: &Buffer) -> Result<RecordBatch, ArrowError> {
    let short = || ArrowError::IpcError("is too short".to_owned());
    let slice = |from: usize, length: usize| {
        let end = from.checked_add(length).filter(|end| *end <= file.len());
        end.map(|_| file.slice_with_length(from, length))
            .ok_or_else(short)
    };
    let trailer = file.len().checked_sub(10).ok_or_else(short)?;
    let tail: [u8; 10] = file[trailer..].try_into().map_err(|_| short())?;
    let footer_length = read_footer_length(tail)?;
    let footer_start = trailer.checked_sub(footer_length).ok_or_else(short)?;
    let footer = arrow_ipc::root_as_footer(&file[footer_start..trailer])
        .map_err(|error| ArrowError::IpcError(error.to_string()))?;
    let missing = || ArrowError::IpcError("has no schema".to_owned());
    let schema = arrow_ipc::convert::try_fb_to_schema(footer.schema().ok_or_else(missing)?)?;
    if !schema.fields().iter().all(|field| is_written(field.data_type())) {
        return Err(ArrowError::IpcError("has a column of another type".to_owned()));
    }
    let mut decoder = FileDecoder::new(Arc::new(schema), footer.version());
    let data = |block: &arrow_ipc::Block| {
        let length = block
            .bodyLength()
            .checked_add(i64::from(block.metaDataLength()))
            .ok_or_else(short)?;
        let (from, length) = (usize::try_from(block.offset()), usize::try_from(length));
        let data = slice(from.map_err(|_| short())?, length.map_err(|_| short())?)?;
        let head = usize::try_from(block.metaDataLength()).map_err(|_| short())?;
        if !is_within(&data, head) {
            return Err(ArrowError::IpcError("has parts outside of it".to_owned()));
        }
        Ok(data)
    };
    for block in footer.dictionaries().iter().flatten() {
        decoder.read_dictionary(block, &data(block)?)?;
    }
    let batches = footer.recordBatches().ok_or_else(missing)?;
    if batches.len() != 1 {
        return Err(ArrowError::IpcError("has not one batch".to_owned()));
    }
    let block = batches.get(0);
    decoder
        .read_record_batch(block, &data(block)?)?
        .ok_or_else(missing)
}

/// Whether columns of this type are written. The decoder panics on some others.
fn is_written(of: &DataType) -> bool {
    match of {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => true,
        DataType::UInt32 | DataType::Utf8 | DataType::Binary => true,
        DataType::List(item) => {
            matches!(item.data_type(), DataType::UInt32 | DataType::Dictionary(..))
                && is_written(item.data_type())
        }
        DataType::Dictionary(key, value) => {
            matches!(**key, DataType::UInt16 | DataType::UInt32) && **value == DataType::Utf8
        }
        _ => false,
    }
}

/// Whether the buffers of a message are within its body, which follows `head` bytes: the decoder panics if they are not.
fn is_within(data: &Buffer, head: usize) -> bool {
    let Some(body) = data.len().checked_sub(head) else {
        return false;
    };
    let skipped = if data.starts_with(&[0xff; 4]) { 8 } else { 4 };
    let Some(Ok(message)) = data.get(skipped..head).map(arrow_ipc::root_as_message) else {
        return false;
    };
    let batch = message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch()?.data());
    let Some(batch) = batch else {
        return false;
    };
    let inside = |from: i64, length: i64| {
        let (from, length) = (usize::try_from(from).ok(), usize::try_from(length).ok());
        let end = from
            .zip(length)
            .and_then(|(from, length)| from.checked_add(length));
        end.is_some_and(|end| end <= body)
    };
    // A value takes at least a bit, or four bytes of an offset.
    let counts = |count: i64| inside(0, count / 8);
    batch.compression().is_none()
        && counts(batch.length())
        && batch
            .buffers()
            .iter()
            .flatten()
            .all(|part| inside(part.offset(), part.length()))
        && batch
            .nodes()
            .iter()
            .flatten()
            .all(|node| counts(node.length()) && counts(node.null_count()))
}

fn numbers(array: &dyn Array) -> Option<ScalarBuffer<u32>> {
    Some(array.as_primitive_opt::<UInt32Type>()?.values().clone())
}

fn rows(batch: &RecordBatch, object: &str) -> Option<Block> {
    let count = u32::try_from(batch.num_rows())
        .ok()
        .filter(|count| *count <= MOST_ROWS)?;
    let parents = batch.column_by_name(PARENTS)?.as_list_opt::<i32>()?;
    let mut block = Block {
        object: object.to_owned(),
        rows: count,
        records: numbers(batch.column_by_name(RECORD)?)?,
        companies: numbers(batch.column_by_name(COMPANY)?)?,
        parent_ends: parents.offsets().clone(),
        parents: numbers(parents.values())?,
        paths: BTreeMap::new(),
        words: None,
    };
    let schema = batch.schema();
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        let Some((path, kind)) = field.name().rsplit_once('#') else {
            continue;
        };
        let columns = block.paths.entry(path.to_owned()).or_default();
        match kind {
            "i" => columns.ints = Some(ints(field, array)?),
            "d" => columns.decimals = Some(texts(array, true)?),
            "t" => {
                columns.texts = Some(texts(array, true)?);
                columns.derived = field.metadata().contains_key("words").then(OnceLock::new);
            }
            "s" => columns.written = Some(texts(array, false)?),
            _ => return None,
        }
    }
    Some(block)
}

fn ints(field: &Field, array: &dyn Array) -> Option<Ints> {
    fn values<T: ArrowPrimitiveType>(array: &dyn Array) -> Option<ScalarBuffer<T::Native>> {
        Some(array.as_primitive_opt::<T>()?.values().clone())
    }
    let values = values::<Int8Type>(array)
        .map(Width::One)
        .or_else(|| values::<Int16Type>(array).map(Width::Two))
        .or_else(|| values::<Int32Type>(array).map(Width::Four))
        .or_else(|| values::<Int64Type>(array).map(Width::Eight))?;
    let bound = |name: &str| field.metadata().get(name)?.parse().ok();
    let ints = Ints {
        values,
        nulls: array.nulls().cloned(),
        min: bound("min")?,
        max: bound("max")?,
    };
    // The bounds decide which rows are looked at: wrong ones would hide rows.
    let inside = (0..array.len() as u32).all(|row| {
        ints.get(row)
            .is_none_or(|value| (ints.min..=ints.max).contains(&value))
    });
    inside.then_some(ints)
}

fn texts(array: &dyn Array, sorted: bool) -> Option<Texts> {
    let (dictionary, ords) = match array.as_list_opt::<i32>() {
        Some(list) => {
            let values = list.values().as_dictionary_opt::<UInt32Type>()?;
            if values.nulls().is_some() {
                return None;
            }
            let ords = Ords::List(list.offsets().clone(), values.keys().values().clone());
            (values.values().clone(), ords)
        }
        None => {
            let values = array.as_dictionary_opt::<UInt16Type>()?;
            (
                values.values().clone(),
                Ords::Single(values.keys().values().clone()),
            )
        }
    };
    let dictionary = dictionary.as_string_opt::<i32>()?.clone();
    let count = dictionary.len();
    // Numbers of missing values are looked at, too.
    let in_range = match &ords {
        Ords::Single(ords) => ords.iter().all(|ord| usize::from(*ord) < count.max(1)),
        Ords::List(_, ords) => ords.iter().all(|ord| (*ord as usize) < count),
    };
    let in_order = !sorted || (1..count).all(|at| dictionary.value(at - 1) < dictionary.value(at));
    (in_range && in_order).then(|| Texts {
        dictionary,
        ords,
        nulls: array.nulls().cloned(),
    })
}

fn stored(batch: &RecordBatch) -> Option<Stored> {
    let schema = batch.schema();
    let field = schema.field_with_name("word").ok()?;
    let mut ranges = BTreeMap::new();
    for line in field.metadata().get("ranges")?.lines() {
        let mut parts = line.split('\t');
        let (path, from, to) = (
            parts.next()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        );
        ranges.insert(path.to_owned(), (from, to));
    }
    Some(Stored {
        terms: batch.column_by_name("word")?.as_string_opt::<i32>()?.clone(),
        rows: batch.column_by_name("rows")?.as_binary_opt::<i32>()?.clone(),
        ranges,
    })
}
