//! How many pages of a list of clients are worth their requests.
//!
//! The number of pages of a tenant is not known before the last one. A list goes on as long as it finds
//! clients that are wanted: it costs at most two requests, or a tenth of those for single reads, more
//! than these.

use std::collections::HashSet;

use auth0_client::NextPage;

/// The smallest number of wanted clients for which a page is read: one client costs one request anyway.
const MIN_WANTED: usize = 2;

/// How many pages in a row may have no wanted client: a tenth of the wanted clients, within these bounds.
const MIN_MISSES: usize = 2;
const MAX_MISSES: usize = 50;

/// Position in a list of clients.
#[derive(Debug, Default)]
pub(in super::super) struct Pages {
    /// How many pages were read.
    pub(in super::super) count: usize,
    /// Where the next page starts.
    pub(in super::super) from: Option<String>,
    /// Where pages started.
    seen: HashSet<String>,
    /// How many pages in a row had no wanted client.
    misses: usize,
    /// How many pages the last complete list had.
    known: Option<usize>,
}

/// Continuation after a page.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Progress {
    Continues,
    /// Nothing: it was the last page.
    Complete,
    /// The same page again, or nothing of use.
    Endless,
}

impl Pages {
    /// Starts a list of a tenant whose last complete list had `known` pages.
    pub(super) fn of_tenant(known: Option<usize>) -> Self {
        Self { known, ..Self::default() }
    }

    /// Returns whether the next page is expected to cost less than single reads of the clients that are
    /// still wanted.
    pub(in super::super) fn is_worthwhile(&self, wanted: usize) -> bool {
        if wanted < MIN_WANTED {
            return false;
        }
        match self.known {
            Some(known) if self.count < known => known - self.count < wanted,
            _ => self.misses < (wanted / 10).clamp(MIN_MISSES, MAX_MISSES),
        }
    }

    /// Goes to the next page, after one that had `clients`, of which `found` were wanted.
    pub(in super::super) fn advance(
        &mut self,
        next: NextPage,
        clients: usize,
        found: usize,
    ) -> Progress {
        self.count += 1;
        self.misses = if found == 0 { self.misses + 1 } else { 0 };
        match next {
            NextPage::End => Progress::Complete,
            NextPage::From(next) if clients > 0 && self.seen.insert(next.clone()) => {
                self.from = Some(next);
                Progress::Continues
            }
            NextPage::From(_) | NextPage::Unusable => Progress::Endless,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(next: &str) -> NextPage {
        NextPage::From(next.into())
    }

    #[test]
    fn list_ends_with_the_last_page_or_when_it_repeats_itself() {
        let mut pages = Pages::default();
        assert_eq!(pages.advance(from("a"), 1, 1), Progress::Continues);
        assert_eq!(pages.from.as_deref(), Some("a"));
        assert_eq!(pages.advance(from("b"), 1, 1), Progress::Continues);
        assert_eq!(pages.advance(from("a"), 1, 1), Progress::Endless);
        assert_eq!(pages.advance(NextPage::Unusable, 1, 1), Progress::Endless);
        assert_eq!(pages.advance(from("c"), 0, 0), Progress::Endless);
        assert_eq!(pages.advance(NextPage::End, 1, 1), Progress::Complete);
        assert_eq!(pages.count, 6);
    }

    /// Returns the requests for `wanted` clients of a tenant with `total` pages, which `first` and the
    /// following pages have, 100 each.
    fn requests(wanted: usize, total: usize, first: usize, known: Option<usize>) -> usize {
        let (mut pages, mut left) = (Pages::of_tenant(known), wanted);
        while pages.is_worthwhile(left) {
            let number = pages.count;
            let found = if number < first { 0 } else { left.min(100) };
            let next = if number + 1 < total { from(&number.to_string()) } else { NextPage::End };
            left -= found;
            if pages.advance(next, 100, found) != Progress::Continues {
                break;
            }
        }
        pages.count + left
    }

    #[test]
    fn pages_are_read_as_long_as_they_have_wanted_clients() {
        assert_eq!(requests(1, 1, 0, None), 1, "a single read");
        assert_eq!(requests(2, 1, 0, None), 1);
        assert_eq!(requests(2000, 20, 0, None), 20);
        assert_eq!(requests(20, 1000, 1000, None), 22, "a tenant with many other clients");
        assert_eq!(requests(100, 20, 9, None), 10, "clients that were created last");
        assert_eq!(requests(100_000, 1000, 1000, None), 100_050, "clients that don't exist");
    }

    #[test]
    fn known_number_of_pages_decides() {
        assert_eq!(requests(20, 1000, 999, Some(1000)), 20);
        assert_eq!(requests(20, 10, 9, Some(10)), 10);
        assert_eq!(requests(10, 10, 9, Some(10)), 10);
        assert_eq!(requests(110, 11, 10, Some(10)), 21, "the tenant has more clients by now");
    }
}
