//! Pages of bounded size. Every list is built here.
//!
//! Items are added until the page has the requested number or 3 MiB, counted in encoded bytes, because a
//! number of items says nothing about their size; the next page begins after the last item. gRPC clients
//! refuse more than 4 MiB unless configured otherwise. The rows of a list are read in parts of about a
//! megabyte (`store/record/answer.rs`: the keys, then the rows one by one), so that little more is read than is
//! sent.

use prost::Message;

/// The maximum size of an encoded answer of any RPC, in bytes: below the default limit of gRPC clients, 4
/// MiB.
pub const MOST_ANSWER_BYTES: usize = 3 << 20;
/// Bytes reserved for the other fields of the answer: token, size, positions.
const RESERVED: usize = 64 << 10;

/// A page under construction: limited by a number of items and by the size of an answer.
pub struct Page<T> {
    items: Vec<T>,
    most: usize,
    bytes: usize,
    left: usize,
    full: bool,
}

impl<T: Message> Page<T> {
    /// A page of at most `most` items.
    pub fn new(most: usize) -> Self {
        Self::beside(most, 0)
    }

    /// A page of at most `most` items, in an answer whose other fields take `bytes` bytes.
    pub fn beside(most: usize, bytes: usize) -> Self {
        Self {
            items: Vec::new(),
            most,
            bytes: 0,
            left: (MOST_ANSWER_BYTES - RESERVED).saturating_sub(bytes),
            full: false,
        }
    }

    /// A page of at most `most` items that ends at `bytes` bytes.
    pub fn of(most: usize, bytes: usize) -> Self {
        Self {
            left: bytes.min(MOST_ANSWER_BYTES - RESERVED),
            ..Self::new(most)
        }
    }

    /// Adds an item; returns whether it was added. The first item is always added, so that every page makes
    /// progress. After an item that does not fit, no further one is added, so that a page has no gaps.
    pub fn push(&mut self, item: T) -> bool {
        let bytes = field_bytes(item.encoded_len());
        let fits = self.items.is_empty() || (bytes <= self.left && self.items.len() < self.most);
        if self.full || !fits {
            self.full = true;
            return false;
        }
        self.bytes += bytes;
        self.left = self.left.saturating_sub(bytes);
        self.items.push(item);
        true
    }

    /// The bytes of its items.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The remaining bytes.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The number of its items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has the maximum number of items, or an item did not fit.
    pub fn is_full(&self) -> bool {
        self.full || self.items.len() >= self.most
    }

    /// The items.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }
}

/// The encoded size of a nested message of this length: key, length and content.
pub fn field_bytes(length: usize) -> usize {
    // The field numbers of lists are below 16: the key has one byte.
    1 + prost::length_delimiter_len(length) + length
}

/// Fills a page from a list: the items, and whether the list has more.
pub fn fill<S, T: Message>(
    most: usize,
    list: impl IntoIterator<Item = S>,
    convert: impl Fn(S) -> T,
) -> (Vec<T>, bool) {
    let mut page = Page::new(most);
    for one in list {
        if page.len() == most || !page.push(convert(one)) {
            return (page.into_items(), true);
        }
    }
    (page.into_items(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    fn group(bytes: usize) -> v1::Group {
        v1::Group {
            name: "x".repeat(bytes),
            ..Default::default()
        }
    }

    fn answer(groups: Vec<v1::Group>) -> usize {
        v1::ListGroupsResponse {
            groups,
            next_page_token: "t".repeat(2_048),
        }
        .encoded_len()
    }

    #[test]
    fn a_page_ends_by_its_number_or_its_bytes() {
        let (items, more) = fill(3, 0..5, |_| group(1));
        assert_eq!((items.len(), more), (3, true));
        let (items, more) = fill(5, 0..5, |_| group(1));
        assert_eq!((items.len(), more), (5, false));
        // The answer fits, and one more item would not, for items of any size.
        for size in [1_000, 31_000, 1_000_000, 2_900_000] {
            let (items, more) = fill(100_000, 0..100_000, |_| group(size));
            assert!(more);
            assert!(answer(items.clone()) <= MOST_ANSWER_BYTES, "{size}");
            assert!(
                (items.len() + 1) * size > MOST_ANSWER_BYTES - RESERVED - 100 * items.len(),
                "{size}"
            );
        }
    }

    #[test]
    fn a_list_goes_on_even_if_one_item_is_too_large() {
        let (items, more) = fill(10, [5_000_000, 1, 1], group);
        assert_eq!((items.len(), more), (1, true));
    }

    #[test]
    fn a_page_has_no_gaps() {
        let mut page = Page::new(10);
        assert!(page.push(group(2_000_000)));
        assert!(!page.push(group(2_000_000)));
        assert!(
            !page.push(group(1)),
            "it would stand before the one that did not fit"
        );
        assert_eq!(page.len(), 1);
    }
}
