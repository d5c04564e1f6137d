//! Companies as a stream of Apache Arrow's IPC format: its schema once, then a record batch for each page.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::column::Column;
use super::text::{self, FIRST, INCOMPLETE};
use crate::domain::FieldType;
use crate::error::Error;
use crate::grpc::convert;
use crate::proto::v1::{self, value::Kind};

/// Writes companies as record batches.
pub(super) struct Table {
    columns: Vec<Column>,
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

/// The values of a column.
enum Values {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
    Boolean(Vec<Option<bool>>),
    /// Days since 1970.
    Date(Vec<Option<i32>>),
    /// Microseconds since 1970.
    Timestamp(Vec<Option<i64>>),
    List(Vec<Option<Vec<String>>>),
}

impl Table {
    pub(super) fn new(columns: Vec<Column>) -> Result<Self, Error> {
        let mut fields: Vec<Field> = FIRST.iter().map(|name| fixed(name)).collect();
        for column in &columns {
            let item = Values::of(column.field_type).data_type();
            fields.push(of(&column.name, item, column.related));
            if column.field_type == FieldType::Currency {
                fields.push(of(
                    &text::currency_column(&column.name),
                    DataType::Utf8,
                    column.related,
                ));
            }
        }
        fields.push(fixed(INCOMPLETE));
        let schema = Arc::new(Schema::new(fields));
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(Error::internal)?;
        Ok(Self {
            columns,
            schema,
            writer,
        })
    }

    /// A record batch of these companies, after the schema where the stream begins. `last` ends the stream.
    pub(super) fn write(&mut self, companies: &[v1::Company], last: bool) -> Result<Vec<u8>, Error> {
        if !companies.is_empty() {
            let batch = RecordBatch::try_new(Arc::clone(&self.schema), self.arrays(companies));
            self.writer
                .write(&batch.map_err(Error::internal)?)
                .map_err(Error::internal)?;
        }
        if last {
            self.writer.finish().map_err(Error::internal)?;
        }
        Ok(std::mem::take(self.writer.get_mut()))
    }

    fn arrays(&self, companies: &[v1::Company]) -> Vec<ArrayRef> {
        let texts = |of: &dyn Fn(&v1::Company) -> &String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(companies.iter().map(of)))
        };
        let tracked: BooleanArray = companies.iter().map(|one| Some(one.tracked)).collect();
        let owned = |of: &v1::Company| text::sources(of).map(str::to_owned).collect();
        let mut arrays: Vec<ArrayRef> = vec![
            texts(&|one| &one.name),
            texts(&|one| &one.display_name),
            texts(&|one| &one.domain),
            texts(&|one| &one.homepage_uri),
            texts(&|one| &one.platform_id),
            Arc::new(tracked),
            Values::List(companies.iter().map(|one| Some(owned(one))).collect()).array(),
        ];
        let mut incomplete: Vec<Vec<String>> = vec![Vec::new(); companies.len()];
        for (at, column) in self.columns.iter().enumerate() {
            let cells: Vec<&v1::CompanyCell> = companies
                .iter()
                .map(|one| one.cells.get(at).unwrap_or(&NONE))
                .collect();
            let (values, lengths) = flat(column, &cells, &mut incomplete);
            let lengths = column.related.then_some(lengths);
            arrays.push(listed(values.array(), lengths.as_deref()));
            if column.field_type == FieldType::Currency {
                let codes = Values::Text(currencies(column, &cells)).array();
                arrays.push(listed(codes, lengths.as_deref()));
            }
        }
        arrays.push(Values::List(incomplete.into_iter().map(Some).collect()).array());
        arrays
    }
}

static NONE: v1::CompanyCell = v1::CompanyCell {
    values: Vec::new(),
    more: false,
};

/// A column that every company has a value in.
fn fixed(name: &str) -> Field {
    let data_type = match name {
        "tracked" => DataType::Boolean,
        "sources" | INCOMPLETE => list(DataType::Utf8),
        _ => DataType::Utf8,
    };
    Field::new(name, data_type, false)
}

fn of(name: &str, item: DataType, related: bool) -> Field {
    Field::new(name, if related { list(item) } else { item }, true)
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// An array of values, or of lists of these lengths.
fn listed(values: ArrayRef, lengths: Option<&[usize]>) -> ArrayRef {
    match lengths {
        None => values,
        Some(lengths) => lists(values, lengths, None),
    }
}

fn lists(values: ArrayRef, lengths: &[usize], nulls: Option<NullBuffer>) -> ArrayRef {
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(item, offsets, values, nulls))
}

/// The shown values of a cell: of a company's own field the smallest.
fn shown<'a>(column: &Column, cell: &'a v1::CompanyCell) -> &'a [v1::Value] {
    match column.related {
        true => &cell.values,
        false => cell.values.get(..1).unwrap_or_default(),
    }
}

/// The values of a column one after the other, and how many each company has. A column of the company object has one
/// for each company, which may be unset.
fn flat(column: &Column, cells: &[&v1::CompanyCell], incomplete: &mut [Vec<String>]) -> (Values, Vec<usize>) {
    let mut values = Values::of(column.field_type);
    let mut lengths = Vec::with_capacity(cells.len());
    for (cell, incomplete) in cells.iter().zip(incomplete) {
        let shown = shown(column, cell);
        let mut whole = !cell.more && shown.len() == cell.values.len();
        for value in shown {
            whole &= values.push(Some(value)) && value.part.is_none();
        }
        if shown.is_empty() && !column.related {
            values.push(None);
        }
        if !whole {
            incomplete.push(column.name.clone());
        }
        lengths.push(shown.len());
    }
    (values, lengths)
}

/// The currencies of the values of [`flat`].
fn currencies(column: &Column, cells: &[&v1::CompanyCell]) -> Vec<Option<String>> {
    let code = |value: &v1::Value| Some(text::currency(value).to_owned()).filter(|code| !code.is_empty());
    let mut codes = Vec::new();
    for cell in cells {
        let shown = shown(column, cell);
        codes.extend(shown.iter().map(code));
        if shown.is_empty() && !column.related {
            codes.push(None);
        }
    }
    codes
}

impl Values {
    fn of(field_type: FieldType) -> Self {
        match field_type {
            FieldType::Integer => Self::Integer(Vec::new()),
            FieldType::Boolean => Self::Boolean(Vec::new()),
            FieldType::Date => Self::Date(Vec::new()),
            FieldType::Timestamp => Self::Timestamp(Vec::new()),
            FieldType::MultiPicklist => Self::List(Vec::new()),
            _ => Self::Text(Vec::new()),
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Text(_) => DataType::Utf8,
            Self::Integer(_) => DataType::Int64,
            Self::Boolean(_) => DataType::Boolean,
            Self::Date(_) => DataType::Date32,
            Self::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
            Self::List(_) => list(DataType::Utf8),
        }
    }

    /// Adds a value; returns false if it does not fit the type, in which case it is unset.
    fn push(&mut self, value: Option<&v1::Value>) -> bool {
        let kind = value.and_then(|value| value.kind.as_ref());
        let fits = |there: bool| there || kind.is_none();
        match self {
            Self::Text(all) => {
                let is_raw = matches!(kind, Some(Kind::Raw(_)));
                all.push(value.filter(|_| kind.is_some()).map(text::text));
                !is_raw
            }
            Self::Integer(all) => {
                let one = match kind {
                    Some(Kind::Integer(number)) => Some(*number),
                    _ => None,
                };
                all.push(one);
                fits(one.is_some())
            }
            Self::Boolean(all) => {
                let one = match kind {
                    Some(Kind::Boolean(yes)) => Some(*yes),
                    _ => None,
                };
                all.push(one);
                fits(one.is_some())
            }
            Self::Date(all) => {
                let one = match kind {
                    Some(Kind::Date(date)) => days(date.year, date.month, date.day),
                    _ => None,
                };
                all.push(one);
                fits(one.is_some())
            }
            Self::Timestamp(all) => {
                let one = match kind {
                    Some(Kind::Timestamp(time)) => Some(convert::micros(*time)),
                    _ => None,
                };
                all.push(one);
                fits(one.is_some())
            }
            Self::List(all) => {
                let one = match kind {
                    Some(Kind::List(list)) => Some(text::entries(list)),
                    _ => None,
                };
                let there = one.is_some();
                all.push(one.map(|entries| entries.into_iter().map(str::to_owned).collect()));
                fits(there)
            }
        }
    }

    fn array(self) -> ArrayRef {
        match self {
            Self::Text(all) => Arc::new(StringArray::from(all)),
            Self::Integer(all) => Arc::new(Int64Array::from(all)),
            Self::Boolean(all) => Arc::new(BooleanArray::from(all)),
            Self::Date(all) => Arc::new(Date32Array::from(all)),
            Self::Timestamp(all) => Arc::new(TimestampMicrosecondArray::from(all).with_timezone(ZONE)),
            Self::List(all) => {
                let nulls: NullBuffer = all.iter().map(Option::is_some).collect();
                let lengths: Vec<usize> = all.iter().map(|one| one.as_ref().map_or(0, Vec::len)).collect();
                let entries = StringArray::from_iter_values(all.into_iter().flatten().flatten());
                lists(Arc::new(entries), &lengths, Some(nulls))
            }
        }
    }
}

const ZONE: &str = "UTC";

/// Days since 1970; `None` for a day that does not exist.
fn days(year: i32, month: i32, day: i32) -> Option<i32> {
    let month = time::Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = time::Date::from_calendar_date(year, month, u8::try_from(day).ok()?).ok()?;
    Some(date.to_julian_day() - 2_440_588)
}
