//! The resources of one tenant that wait for a list of its clients. Pure: the time is an argument.
//!
//! - A few resources read their clients on their own, so that a single import costs one read and waits
//!   for nothing. When more come, the batch collects them for as long as they arrive, then lists pages.
//! - An answer is for a resource that existed before its page was requested, and is kept until its
//!   reconcile ends, or for [`ANSWER_TTL`]. The next page waits while many answers are not used yet.
//! - A client that no page has, and every failure, is for single reads: they report what is wrong.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use auth0_client::{ClientInfo, ClientPage};
use leader_election::BootInstant;

use super::pages::{Pages, Progress};
use crate::controller::object_key::ObjectKey;

/// How many resources of a tenant read their clients on their own before others are collected.
const MAX_ALONE: usize = 2;

/// The list starts when no resource has arrived for this long.
const QUIET: Duration = Duration::from_millis(200);

/// The longest time that resources are collected.
const MAX_COLLECTING: Duration = Duration::from_secs(3);

/// How long the answer from a list may be used. The same change at Auth0 a little later would have the
/// same effect: the next drift check finds it.
const ANSWER_TTL: Duration = Duration::from_secs(60);

/// How many unused answers keep the next page waiting. They have secrets.
const MAX_UNUSED: usize = 100;

/// How often to check whether they were used.
const UNUSED_CHECK: Duration = Duration::from_millis(20);

/// How long a namespace with few resources waits for a list that goes on for those of others.
const PATIENCE: Duration = Duration::from_secs(5);

/// After this time without a page, resources read their clients on their own.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// How long no list is made after one that Auth0 rejected.
const REJECTED_PAUSE: Duration = Duration::from_secs(300);

/// A resource that needs to read its client.
pub(super) struct Wanted<'a> {
    pub(super) uid: &'a str,
    pub(super) key: &'a ObjectKey,
    pub(super) client_id: &'a str,
}

/// What a resource does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is reconciled now.
    Reconcile,
    /// It waits for the list, and is triggered.
    Wait,
}

/// What the list does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It waits for this time, or until something changes.
    Sleep(Duration),
    /// It requests the page that starts from this position.
    Request(Option<String>),
    /// Nothing is left to do.
    Stop,
}

/// A client in a list.
pub(in super::super) struct ListedAnswer {
    pub(in super::super) client: ClientInfo,
    /// Before the page was requested.
    pub(in super::super) asked_at: BootInstant,
    pub(in super::super) received_at: Instant,
}

/// A page of the list.
pub(super) struct ReceivedPage {
    pub(super) page: ClientPage,
    pub(super) asked_at: BootInstant,
}

/// Why a list ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Auth0 does not answer now, as it would not answer single reads.
    Unavailable,
    /// The list is rejected or of no use, and single reads may not be.
    Rejected,
}

enum Stage {
    Idle,
    Collecting { since: Instant, last_arrival: Instant },
    Listing { since: Instant },
}

struct Entry {
    key: ObjectKey,
    client_id: String,
    state: EntryState,
}

enum EntryState {
    /// It reads its client on its own.
    Alone,
    /// It waits for the list, since this page.
    Waiting {
        since_page: usize,
    },
    Answered(ListedAnswer),
}

/// The resources of one tenant that need to read their clients, by UID.
pub(super) struct Batch {
    entries: HashMap<String, Entry>,
    /// The UIDs of those that wait, by client ID.
    waiting: HashMap<String, Vec<String>>,
    /// Those that may be reconciled.
    ready: Vec<ObjectKey>,
    stage: Stage,
    pages: Pages,
    /// How many pages the last complete list had.
    known_pages: Option<usize>,
    progress_at: Instant,
    not_before: Instant,
}

impl Batch {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            entries: HashMap::new(),
            waiting: HashMap::new(),
            ready: Vec::new(),
            stage: Stage::Idle,
            pages: Pages::default(),
            known_pages: None,
            progress_at: now,
            not_before: now,
        }
    }

    /// Decides whether a resource that needs to read its client waits for a list.
    pub(super) fn admit(&mut self, wanted: &Wanted<'_>, now: Instant) -> Turn {
        let is_stuck = now.saturating_duration_since(self.progress_at) > MAX_SILENCE;
        match self.entries.get(wanted.uid).map(|entry| &entry.state) {
            Some(EntryState::Waiting { .. }) if is_stuck => {
                self.release(wanted.uid);
                return Turn::Reconcile;
            }
            Some(EntryState::Waiting { .. }) => return Turn::Wait,
            Some(EntryState::Alone | EntryState::Answered(_)) => return Turn::Reconcile,
            None => {}
        }
        let is_alone = match &mut self.stage {
            Stage::Idle => now < self.not_before || self.count_alone() < MAX_ALONE,
            Stage::Collecting { last_arrival, .. } => {
                *last_arrival = now;
                false
            }
            // The list of others is no reason for a namespace to wait.
            Stage::Listing { .. } => {
                let namespace = &wanted.key.namespace;
                !self.entries.values().any(|entry| entry.key.namespace == *namespace)
            }
        };
        self.insert(wanted, is_alone);
        if is_alone {
            return Turn::Reconcile;
        }
        if matches!(self.stage, Stage::Idle) {
            self.stage = Stage::Collecting { since: now, last_arrival: now };
            self.progress_at = now;
        }
        Turn::Wait
    }

    fn insert(&mut self, wanted: &Wanted<'_>, is_alone: bool) {
        let state = if is_alone {
            EntryState::Alone
        } else {
            let uids = self.waiting.entry(wanted.client_id.to_owned()).or_default();
            uids.push(wanted.uid.to_owned());
            EntryState::Waiting { since_page: self.pages.count }
        };
        let entry =
            Entry { key: wanted.key.clone(), client_id: wanted.client_id.to_owned(), state };
        self.entries.insert(wanted.uid.to_owned(), entry);
    }

    fn count_alone(&self) -> usize {
        let alone = self.entries.values().filter(|entry| matches!(entry.state, EntryState::Alone));
        alone.count()
    }

    fn count_unused(&self) -> usize {
        let entries = self.entries.values();
        entries.filter(|entry| matches!(entry.state, EntryState::Answered(_))).count()
    }

    /// Takes the answer for a resource, which is used once.
    pub(super) fn take(&mut self, uid: &str, now: Instant) -> Option<ListedAnswer> {
        let entry = self.entries.get_mut(uid)?;
        match std::mem::replace(&mut entry.state, EntryState::Alone) {
            EntryState::Answered(answer) if !is_expired(&answer, now) => Some(answer),
            EntryState::Answered(_) | EntryState::Alone => None,
            waiting @ EntryState::Waiting { .. } => {
                entry.state = waiting;
                None
            }
        }
    }

    /// Forgets a resource whose reconcile has ended, or which is gone.
    pub(super) fn remove(&mut self, uid: &str) {
        let Some(entry) = self.entries.remove(uid) else { return };
        if matches!(entry.state, EntryState::Waiting { .. }) {
            self.stop_waiting(uid, &entry.client_id);
        }
    }

    pub(super) fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.entries.keys().filter(|uid| !exists(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.remove(uid));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the resources that may be reconciled since the last call.
    pub(super) fn take_ready(&mut self) -> Vec<ObjectKey> {
        std::mem::take(&mut self.ready)
    }

    fn stop_waiting(&mut self, uid: &str, client_id: &str) {
        if let Some(uids) = self.waiting.get_mut(client_id) {
            uids.retain(|waiting| waiting != uid);
            if uids.is_empty() {
                self.waiting.remove(client_id);
            }
        }
    }

    /// Lets a resource that waits read its client on its own.
    fn release(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.state = EntryState::Alone;
        self.ready.push(entry.key.clone());
        let client_id = entry.client_id.clone();
        self.stop_waiting(uid, &client_id);
    }

    fn release_where(&mut self, is_released: impl Fn(&Entry, usize) -> bool) {
        let waiting = self.entries.iter().filter_map(|(uid, entry)| match entry.state {
            EntryState::Waiting { since_page } if is_released(entry, since_page) => Some(uid),
            _ => None,
        });
        let released: Vec<String> = waiting.cloned().collect();
        released.iter().for_each(|uid| self.release(uid));
    }

    /// Returns what the list does next.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.drop_expired(now);
        if let Stage::Collecting { since, last_arrival } = self.stage {
            let start = (last_arrival + QUIET).min(since + MAX_COLLECTING);
            if now < start {
                return Next::Sleep(start - now);
            }
            self.pages = Pages::of_tenant(self.known_pages);
            self.stage = Stage::Listing { since: now };
            self.await_first_page();
        }
        if let Stage::Listing { since } = self.stage {
            if now.saturating_duration_since(since) > PATIENCE {
                self.release_small_namespaces();
            }
            if !self.pages.is_worthwhile(self.waiting.len()) {
                self.end_list();
            } else if self.count_unused() >= MAX_UNUSED {
                self.progress_at = now;
                return Next::Sleep(UNUSED_CHECK);
            } else {
                return Next::Request(self.pages.from.clone());
            }
        }
        // Unused answers are dropped in time.
        if self.count_unused() == 0 { Next::Stop } else { Next::Sleep(ANSWER_TTL / 10) }
    }

    /// Records a page: resources get their clients, and the rest of it is dropped.
    pub(super) fn record_page(&mut self, received: ReceivedPage, now: Instant) {
        let ReceivedPage { page: ClientPage { clients, next }, asked_at } = received;
        self.progress_at = now;
        let (count, mut found) = (clients.len(), 0);
        for client in clients {
            let Some(uids) = self.waiting.remove(&client.client_id) else { continue };
            found += 1;
            for uid in uids {
                let Some(entry) = self.entries.get_mut(&uid) else { continue };
                let client = client.clone();
                let answer = ListedAnswer { client, asked_at, received_at: now };
                entry.state = EntryState::Answered(answer);
                self.ready.push(entry.key.clone());
            }
        }
        match self.pages.advance(next, count, found) {
            Progress::Continues => {}
            Progress::Complete => {
                self.known_pages = Some(self.pages.count);
                // A list does not have the global client, so a single read says whether it exists.
                self.release_where(|_, since_page| since_page == 0);
                self.collect_again(now);
            }
            Progress::Endless => self.end_list(),
        }
    }

    /// Ends the list after a failure.
    pub(super) fn record_failure(&mut self, failure: Failure, now: Instant) {
        if failure == Failure::Rejected {
            self.not_before = now + REJECTED_PAUSE;
        }
        self.end_list();
    }

    /// Lets all resources that wait read their clients on their own.
    fn end_list(&mut self) {
        self.release_where(|_, _| true);
        self.stage = Stage::Idle;
    }

    /// Starts the next list for those that came when their clients may have been on earlier pages.
    fn collect_again(&mut self, now: Instant) {
        self.stage = if self.waiting.is_empty() {
            Stage::Idle
        } else {
            Stage::Collecting { since: now, last_arrival: now }
        };
    }

    fn await_first_page(&mut self) {
        for entry in self.entries.values_mut() {
            if let EntryState::Waiting { since_page } = &mut entry.state {
                *since_page = 0;
            }
        }
    }

    fn release_small_namespaces(&mut self) {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for entry in self.entries.values() {
            if matches!(entry.state, EntryState::Waiting { .. }) {
                *counts.entry(entry.key.namespace.clone()).or_default() += 1;
            }
        }
        if counts.len() > 1 {
            self.release_where(|entry, _| counts[&entry.key.namespace] <= MAX_ALONE);
        }
    }

    /// Drops the secrets of resources that were not reconciled in time.
    fn drop_expired(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if let EntryState::Answered(answer) = &entry.state
                && is_expired(answer, now)
            {
                entry.state = EntryState::Alone;
            }
        }
    }
}

fn is_expired(answer: &ListedAnswer, now: Instant) -> bool {
    now.saturating_duration_since(answer.received_at) > ANSWER_TTL
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
