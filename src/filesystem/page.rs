//! Pages of a directory: the next entries in an order, found in one pass and in the memory of one page.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use crate::domain::DirectoryEntry;

/// The page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// The maximum number of entries.
    pub size: usize,
    /// The order of the entries.
    pub sort: Sort,
    /// Greatest first.
    pub descending: bool,
    /// After which entry the page begins, whether there still is such an entry or not; at the start if absent.
    pub after: Option<Position>,
}

/// The sort key of entries. Equal keys are ordered by the bytes of the name, so that every order is total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// The bytes of the name.
    #[default]
    Name,
    /// The size.
    Size,
    /// The time of the last change of content.
    #[serde(rename = "mtime")]
    Modified,
}

impl Sort {
    /// The sort key of an entry before its name.
    pub fn value(self, size: u64, modified: i64) -> i128 {
        match self {
            Self::Name => 0,
            Self::Size => size.into(),
            Self::Modified => modified.into(),
        }
    }
}

/// A place in an order: that of an entry with this value and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// See [`Sort::value`].
    pub value: i128,
    /// The name.
    pub name: Vec<u8>,
}

/// A page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in order.
    pub entries: Vec<DirectoryEntry>,
    /// The start of the next page; none on the last one.
    pub next: Option<Position>,
}

/// The first entries of all that are offered, in the order of a request.
pub(super) struct Top<'a, T> {
    request: &'a PageRequest,
    /// The last of the order on top.
    kept: BinaryHeap<Candidate<T>>,
    more: bool,
}

/// An entry of the page so far.
struct Candidate<T> {
    position: Position,
    descending: bool,
    item: T,
}

impl<'a, T> Top<'a, T> {
    /// An empty page.
    pub(super) fn new(request: &'a PageRequest) -> Self {
        Self { request, kept: BinaryHeap::new(), more: false }
    }

    /// Offers an entry; `item` is made only of one that is kept for now.
    pub(super) fn offer(&mut self, name: &[u8], size: u64, modified: i64, item: impl FnOnce() -> T) {
        let value = self.request.sort.value(size, modified);
        let compare = |other: &Position| directed((value, name).cmp(&(other.value, &other.name)), self.request.descending);
        if self.request.after.as_ref().is_some_and(|after| compare(after).is_le()) {
            return;
        }
        if self.kept.len() == self.request.size {
            self.more = true;
            if self.kept.peek().is_none_or(|last| compare(&last.position).is_ge()) {
                return;
            }
            self.kept.pop();
        }
        let position = Position { value, name: name.to_vec() };
        self.kept.push(Candidate { position, descending: self.request.descending, item: item() });
    }

    /// The entries that were kept, in order, and the start of the next page.
    pub(super) fn finish(self) -> (Vec<T>, Option<Position>) {
        let more = self.more;
        let mut kept = self.kept.into_sorted_vec();
        let next = if more { kept.last_mut().map(|last| last.position.clone()) } else { None };
        (kept.into_iter().map(|kept| kept.item).collect(), next)
    }
}

fn directed(ordering: Ordering, descending: bool) -> Ordering {
    if descending { ordering.reverse() } else { ordering }
}

impl<T> Ord for Candidate<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        directed(self.position.cmp(&other.position), self.descending)
    }
}

impl<T> PartialOrd for Candidate<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Candidate<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Candidate<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Entry = (Vec<u8>, u64, i64);

    fn pages(entries: &[Entry], mut request: PageRequest) -> Vec<Entry> {
        let mut all = Vec::new();
        loop {
            let mut top = Top::new(&request);
            entries.iter().for_each(|entry| top.offer(&entry.0, entry.1, entry.2, || entry.clone()));
            let (page, next) = top.finish();
            assert!(page.len() <= request.size);
            all.extend(page);
            match next {
                Some(next) => request.after = Some(next),
                None => return all,
            }
        }
    }

    proptest! {
        #[test]
        fn the_pages_together_are_the_whole_in_order(
            names in proptest::collection::btree_map(proptest::collection::vec(0u8.., 1..4), (0u64..4, -2i64..2), 0..40),
            size in 1usize..7,
            sort in proptest::sample::select(vec![Sort::Name, Sort::Size, Sort::Modified]),
            descending: bool,
        ) {
            let entries: Vec<Entry> = names.into_iter().map(|(name, (size, modified))| (name, size, modified)).collect();
            let mut expected = entries.clone();
            expected.sort_by(|a, b| {
                directed((sort.value(a.1, a.2), &a.0).cmp(&(sort.value(b.1, b.2), &b.0)), descending)
            });
            prop_assert_eq!(pages(&entries, PageRequest { size, sort, descending, after: None }), expected);
        }
    }

    #[test]
    fn a_page_goes_on_after_an_entry_that_is_gone() {
        let request =
            PageRequest { size: 10, sort: Sort::Name, descending: false, after: Some(Position { value: 0, name: b"b".to_vec() }) };
        let entries = [(b"a".to_vec(), 0, 0), (b"c".to_vec(), 0, 0)];
        assert_eq!(pages(&entries, request), entries[1..]);
    }
}
