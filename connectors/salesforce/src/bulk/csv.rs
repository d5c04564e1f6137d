//! Reads the CSV of a result while it arrives: records with quoted values, which may contain line breaks.
//!
//! A result that ends inside of a record was cut, although its reply looked complete: the end of the last line shows it.

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// The first size of the buffer of a record.
const RECORD_BYTES: usize = 16 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The state of the reading.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A record is there; see [`Csv::value`].
    Record,
    /// More input is needed.
    More,
    /// The text has ended.
    End,
    /// It has ended in the middle of a record.
    Cut,
}

/// A text that arrives in parts.
pub(crate) struct Csv {
    core: Reader,
    input: Bytes,
    /// No more input comes.
    ended: bool,
    /// The byte order mark was looked for.
    begun: bool,
    /// The last byte of the input, and whether it has an odd number of quotes: then it ends inside of a value.
    last: u8,
    odd_quotes: bool,
    values: Vec<u8>,
    ends: Vec<usize>,
    /// The lengths of what the record has so far.
    length: usize,
    count: usize,
}

impl Csv {
    pub(crate) fn new(delimiter: u8) -> Self {
        Self {
            core: ReaderBuilder::new().delimiter(delimiter).build(),
            input: Bytes::new(),
            ended: false,
            begun: false,
            last: b'\n',
            odd_quotes: false,
            values: vec![0; RECORD_BYTES],
            ends: vec![0; 64],
            length: 0,
            count: 0,
        }
    }

    /// Adds input. The input before was read: [`Csv::read`] asked for more.
    pub(crate) fn add(&mut self, mut part: Bytes) {
        let quotes = part.iter().filter(|byte| **byte == b'"').count();
        self.odd_quotes ^= quotes % 2 == 1;
        if !self.begun && !self.input.is_empty() {
            // The mark may be split.
            part = [&self.input[..], &part[..]].concat().into();
        }
        self.last = part.last().copied().unwrap_or(self.last);
        self.input = part;
    }

    /// No more input comes.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Reads on, to the next record at most.
    pub(crate) fn read(&mut self) -> Read {
        if !self.begun {
            if self.input.len() < BYTE_ORDER_MARK.len() && !self.ended {
                return Read::More;
            }
            self.begun = true;
            if self.input.starts_with(BYTE_ORDER_MARK) {
                self.input = self.input.slice(BYTE_ORDER_MARK.len()..);
            }
        }
        if self.input.is_empty() && !self.ended {
            return Read::More;
        }
        let is_first = self.length == 0 && self.count == 0;
        loop {
            let at_end = self.input.is_empty();
            let (result, read, written, ends) = self.core.read_record(
                &self.input,
                &mut self.values[self.length..],
                &mut self.ends[self.count..],
            );
            self.input = self.input.slice(read..);
            self.length += written;
            self.count += ends;
            match result {
                ReadRecordResult::InputEmpty if self.ended => {}
                ReadRecordResult::InputEmpty => return Read::More,
                ReadRecordResult::OutputFull => self.values.resize(self.values.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                // The last line has no end: it is whole if its last value is.
                ReadRecordResult::Record if at_end && (self.last != b'"' || self.odd_quotes) => {
                    return Read::Cut;
                }
                ReadRecordResult::Record => return Read::Record,
                ReadRecordResult::End if is_first || self.count == 0 => return Read::End,
                ReadRecordResult::End => return Read::Cut,
            }
        }
    }

    /// The number of values of the record.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// A value of the record.
    pub(crate) fn value(&self, at: usize) -> &[u8] {
        let from = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[from..self.ends[at]]
    }

    /// Leaves the record, to read the next one.
    pub(crate) fn leave(&mut self) {
        (self.length, self.count) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of a text that arrives in parts of this size, and how it ended.
    fn records(text: &[u8], size: usize) -> (Vec<Vec<String>>, Read) {
        let mut csv = Csv::new(b'^');
        let mut parts = text.chunks(size);
        let mut records = Vec::new();
        loop {
            match csv.read() {
                Read::More => match parts.next() {
                    Some(part) => csv.add(Bytes::copy_from_slice(part)),
                    None => csv.end(),
                },
                Read::Record => {
                    let values = (0..csv.len()).map(|at| String::from_utf8_lossy(csv.value(at)).into_owned());
                    records.push(values.collect());
                    csv.leave();
                }
                end => return (records, end),
            }
        }
    }

    #[test]
    fn records_are_read_whatever_the_parts() {
        let long = "x".repeat(100_000);
        let text = format!(
            "\u{feff}\"Id\"^\"A\"\n\"1\"^\"a \"\"b\"\",^\r\nc\"\n\"2\"^\"\"\n\"3\"^\"NA\"\n\"4\"^\"{long}\"\n"
        );
        let right = [
            ["Id", "A"],
            ["1", "a \"b\",^\r\nc"],
            ["2", ""],
            ["3", "NA"],
            ["4", &long],
        ];
        for size in [1, 2, 3, 7, 64, 1_000_000] {
            let (records, end) = records(text.as_bytes(), size);
            assert_eq!(
                (records.as_slice(), end),
                (
                    right.map(|one| one.map(str::to_owned).to_vec()).as_slice(),
                    Read::End
                ),
                "{size}"
            );
        }
    }

    #[test]
    fn a_cut_is_noticed_wherever_it_is() {
        let text = b"\"Id\"^\"A\"\n\"1\"^\"a\nb\"\n\"2\"^\"c\"\n";
        for size in [1, 5, 100] {
            for cut in 0..text.len() {
                let (found, end) = records(&text[..cut], size);
                let whole = found.iter().filter(|record| record.len() == 2).count();
                // After a line, or after its last value: then only the number of records shows it.
                let at_end = [0, 9, 8, 19, 18, 27, 26].contains(&cut);
                let at_quote = text[..cut].last() == Some(&b'"');
                if at_end {
                    assert_eq!(end, Read::End, "{cut}");
                } else {
                    assert!(end == Read::Cut || at_quote, "{cut} {end:?}");
                }
                // No record has a part of a value.
                let values: Vec<&String> = found.iter().flatten().collect();
                let known = ["Id", "A", "1", "a\nb", "2", "c"];
                assert!(
                    values.iter().all(|value| known.contains(&value.as_str())),
                    "{cut} {values:?}"
                );
                assert!(whole <= 3);
            }
        }
    }

    #[test]
    fn nothing_is_a_text_without_records() {
        assert_eq!(records(b"", 1), (Vec::new(), Read::End));
        assert_eq!(records(b"\xef\xbb\xbf", 1), (Vec::new(), Read::End));
        assert_eq!(records(b"\"Id\"\r\n\"1\"\r\n", 100).0, [["Id"], ["1"]]);
    }
}
