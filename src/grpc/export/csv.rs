//! Companies as CSV (RFC 4180).

use csv_core::{Terminator, Writer, WriterBuilder};

use super::column::Column;
use super::text::{self, FIRST, INCOMPLETE};
use crate::domain::FieldType;
use crate::proto::v1;

/// Writes companies as rows.
pub(super) struct Table {
    columns: Vec<Column>,
    /// Whether the header is still to be written.
    header: bool,
    writer: Writer,
    data: Vec<u8>,
}

impl Table {
    pub(super) fn new(columns: Vec<Column>, header: bool) -> Self {
        Self {
            columns,
            header,
            writer: WriterBuilder::new().terminator(Terminator::CRLF).build(),
            data: Vec::new(),
        }
    }

    /// The rows of these companies, after the header where it begins.
    pub(super) fn write(&mut self, companies: &[v1::Company]) -> Vec<u8> {
        if std::mem::take(&mut self.header) {
            let mut names: Vec<String> = FIRST.map(str::to_owned).to_vec();
            for column in &self.columns {
                names.push(column.name.clone());
                if column.field_type == FieldType::Currency {
                    names.push(text::currency_column(&column.name));
                }
            }
            names.push(INCOMPLETE.to_owned());
            self.row(&names);
        }
        for company in companies {
            let cells = self.cells(company);
            self.row(&cells);
        }
        std::mem::take(&mut self.data)
    }

    fn cells(&self, of: &v1::Company) -> Vec<String> {
        let mut cells = vec![
            of.name.clone(),
            of.display_name.clone(),
            of.domain.clone(),
            of.homepage_uri.clone(),
            of.platform_id.clone(),
            of.tracked.to_string(),
            text::sources(of).collect::<Vec<_>>().join("\n"),
        ];
        let mut incomplete: Vec<&str> = Vec::new();
        for (column, cell) in self.columns.iter().zip(&of.cells) {
            let lines = |line: &dyn Fn(&v1::Value) -> String| {
                cell.values.iter().map(line).collect::<Vec<_>>().join("\n")
            };
            cells.push(lines(&text::text));
            if column.field_type == FieldType::Currency {
                cells.push(lines(&|value| text::currency(value).to_owned()));
            }
            if cell.more || cell.values.iter().any(|value| value.part.is_some()) {
                incomplete.push(&column.name);
            }
        }
        cells.push(incomplete.join("\n"));
        cells
    }

    fn row(&mut self, cells: &[String]) {
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                self.put(4, |writer, out| writer.delimiter(out).1);
            }
            // Each character may be a quote, which is doubled; two quotes stand around.
            self.put(2 * cell.len() + 4, |writer, out| {
                writer.field(cell.as_bytes(), out).2
            });
        }
        self.put(4, |writer, out| writer.terminator(out).1);
    }

    /// Appends what is written into at most `most` bytes.
    fn put(&mut self, most: usize, write: impl FnOnce(&mut Writer, &mut [u8]) -> usize) {
        let from = self.data.len();
        self.data.resize(from + most, 0);
        let written = write(&mut self.writer, &mut self.data[from..]);
        self.data.truncate(from + written);
    }
}
