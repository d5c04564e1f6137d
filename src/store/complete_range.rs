//! Ranges of ids that a batch lists completely, in the CRM's order.
//!
//! The connector may claim a range only after it has checked that the CRM lists in the claimed order: that of
//! the ids' bytes, or that of their values where ids are numbers (999 comes before 1000). The store finds
//! ranges of numbers by length, because numbers of one length are in the order of their bytes.

use std::cmp::Ordering;

/// Longest id that is stored.
const LONGEST_ID: usize = 255;

/// In which order a range of ids is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdOrder {
    /// By their bytes.
    Bytes,
    /// By value: decimal numbers without leading zeros. Ids that are no such numbers are in no range.
    Number,
}

/// A range of ids that a batch lists completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteRange {
    /// The range begins after this id; empty for the beginning.
    pub after: String,
    /// The range ends with this id; empty for the end.
    pub through: String,
    /// In which order.
    pub order: IdOrder,
}

/// Stored ids of a range as the key's index has them: a range of bytes, both ends included, of some lengths. It may hold
/// more than the range.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) from: String,
    /// Empty for the end.
    pub(super) to: String,
    pub(super) lengths: Option<(i32, i32)>,
}

/// Whether an id is a decimal number without leading zeros.
#[must_use]
pub fn is_number(id: &str) -> bool {
    id == "0"
        || id.len() <= LONGEST_ID
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && !matches!(id.as_bytes().first(), None | Some(b'0'))
}

/// Numbers of one length stand in the order of their bytes, and longer ones are larger.
fn by_value(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl CompleteRange {
    pub(super) fn contains(&self, id: &str) -> bool {
        let order = match self.order {
            IdOrder::Bytes => str::cmp,
            IdOrder::Number if !is_number(id) => return false,
            IdOrder::Number => by_value,
        };
        (self.after.is_empty() || order(id, &self.after) == Ordering::Greater)
            && (self.through.is_empty() || order(id, &self.through) != Ordering::Greater)
    }

    /// Where the ids of the range are. Ranges of numbers are narrow in bytes as long as both ends are of one length; where
    /// the length grows, and at the end, the whole object is looked through, once each.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let (after, through) = (self.after.as_str(), self.through.as_str());
        if self.order == IdOrder::Bytes {
            return vec![Piece {
                from: after.to_owned(),
                to: through.to_owned(),
                lengths: None,
            }];
        }
        let piece = |from: String, to: String, shortest: usize, longest: usize| Piece {
            from,
            to,
            lengths: Some((shortest as i32, longest as i32)),
        };
        let least = |length: usize| format!("1{}", "0".repeat(length - 1));
        let last = if through.is_empty() {
            LONGEST_ID + 1
        } else {
            through.len()
        };
        if after.len() == last {
            return vec![piece(after.to_owned(), through.to_owned(), last, last)];
        }
        let mut pieces = Vec::new();
        if !after.is_empty() {
            let length = after.len();
            pieces.push(piece(after.to_owned(), "9".repeat(length), length, length));
        }
        if after.len() + 1 < last {
            // Between the first length and the last: all of them, and zero where the range begins with it.
            let from = if after.is_empty() { "0" } else { "1" };
            let longest = last - 1;
            pieces.push(piece(
                from.to_owned(),
                "9".repeat(longest),
                after.len() + 1,
                longest,
            ));
        }
        if last <= LONGEST_ID {
            let from = if last == 1 { "0".to_owned() } else { least(last) };
            pieces.push(piece(from, through.to_owned(), last, last));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(after: &str, through: &str) -> CompleteRange {
        CompleteRange {
            after: after.to_owned(),
            through: through.to_owned(),
            order: IdOrder::Number,
        }
    }

    #[test]
    fn numbers_are_told_from_the_rest() {
        for id in ["0", "7", "10", "9007199254740993"] {
            assert!(is_number(id), "{id}");
        }
        for id in ["", "00", "07", "-1", "1.5", "a", "1a", "١", &"9".repeat(256)] {
            assert!(!is_number(id), "{id}");
        }
    }

    #[test]
    fn the_pieces_hold_the_range_whatever_its_ends() {
        let ids: Vec<String> = (0..=1_200).map(|n: u32| n.to_string()).collect();
        let in_pieces = |covers: &CompleteRange, id: &str| {
            covers
                .pieces()
                .iter()
                .filter(|piece| {
                    let (shortest, longest) = piece.lengths.unwrap();
                    id >= piece.from.as_str()
                        && (piece.to.is_empty() || id <= piece.to.as_str())
                        && (shortest..=longest).contains(&(id.len() as i32))
                })
                .count()
        };
        for (after, through) in [
            ("", ""),
            ("", "0"),
            ("", "7"),
            ("0", "12"),
            ("9", "10"),
            ("9", "1000"),
            ("99", ""),
            ("98", "99"),
            ("150", "151"),
            ("999", ""),
            ("", "1000"),
        ] {
            let covers = number(after, through);
            let from: i64 = after.parse().unwrap_or(-1);
            let to: i64 = through.parse().unwrap_or(i64::MAX);
            for id in &ids {
                let inside = id.parse::<i64>().is_ok_and(|n| n > from && n <= to);
                assert_eq!(covers.contains(id), inside, "{id} in ({after}, {through}]");
                assert!(
                    !inside || in_pieces(&covers, id) == 1,
                    "{id} in ({after}, {through}]"
                );
            }
        }
        assert!(!number("", "").contains("x1") && !number("", "").contains("01"));
    }

    #[test]
    fn a_range_within_one_length_is_one_narrow_piece() {
        let piece = Piece {
            from: "9000".to_owned(),
            to: "9100".to_owned(),
            lengths: Some((4, 4)),
        };
        assert_eq!(number("9000", "9100").pieces(), [piece]);
    }
}
