//! The resources of one tenant that wait for a list of its clients. Pure: the time is an argument.
//!
//! - A few resources read their clients on their own, so that a single import costs one read and waits
//!   for nothing. When more come, the batch collects them for as long as they arrive, then lists pages.
//! - An answer is for a resource that waited before its page was requested, and is kept until its
//!   reconcile ends, or for [`ANSWER_TTL`]. The next page waits while many answers are not used yet.
//! - A secret is kept only for a resource that publishes it and has the permission for its client.
//! - A client that no page has, and every failure, is for single reads: they report what is wrong.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use auth0_client::{ClientInfo, ClientPage};
use leader_election::BootInstant;

use super::pages::{Pages, Progress};
use crate::{api::ClientMetadata, controller::object_key::ObjectKey};

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
const MAX_UNUSED: usize = 16;

/// How often to check whether they were used.
const UNUSED_CHECK: Duration = Duration::from_millis(20);

/// Longest time that a namespace with few resources waits for a list of others.
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
    pub(super) needs: Needs,
}

/// The facts about its client that a resource needs.
#[derive(Clone)]
pub(super) struct Needs {
    pub(super) secret: bool,
    /// The client's metadata, one of these entries of which gives the permission for it.
    pub(super) metadata: Option<Vec<ClientMetadata>>,
}

/// The next action of a resource.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is reconciled now.
    Reconcile,
    /// It waits for the list, and is triggered.
    Wait,
}

/// The next action of the list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It waits for this time, or until something changes.
    Sleep(Duration),
    /// It requests the page that starts from this position.
    Request { from: Option<String>, with_secrets: bool },
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
    needs: Needs,
    state: EntryState,
}

enum EntryState {
    /// It reads its client on its own.
    Alone,
    /// It waits for the list, and was there before this page was requested.
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
    /// Whether a page was requested and is not here yet.
    is_requested: bool,
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
            is_requested: false,
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
            EntryState::Waiting { since_page: self.pages.count + usize::from(self.is_requested) }
        };
        let Wanted { key, client_id, needs, .. } = wanted;
        let (key, client_id) = ((*key).clone(), (*client_id).to_owned());
        let entry = Entry { key, client_id, needs: needs.clone(), state };
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

    /// Returns the answer for a resource without its secret.
    pub(super) fn metadata(&self, uid: &str, now: Instant) -> Option<ListedAnswer> {
        match &self.entries.get(uid)?.state {
            EntryState::Answered(answer) if !is_expired(answer, now) => {
                let client = without_secret(&answer.client);
                Some(ListedAnswer { client, ..*answer })
            }
            _ => None,
        }
    }

    /// Takes the answer for a resource that needs the secret, which is used once.
    pub(super) fn take(&mut self, uid: &str, now: Instant) -> Option<ListedAnswer> {
        let entry = self.entries.get_mut(uid).filter(|entry| entry.needs.secret)?;
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
                self.is_requested = true;
                let from = self.pages.from.clone();
                return Next::Request { from, with_secrets: self.needs_secrets() };
            }
        }
        // Unused answers are dropped in time.
        if self.count_unused() == 0 { Next::Stop } else { Next::Sleep(ANSWER_TTL / 10) }
    }

    /// Records a page: resources get their clients, and the rest of it is dropped.
    pub(super) fn record_page(&mut self, received: ReceivedPage, now: Instant) {
        let ReceivedPage { page: ClientPage { clients, next }, asked_at } = received;
        self.progress_at = now;
        self.is_requested = false;
        let (count, mut found) = (clients.len(), 0);
        for client in clients {
            if let Some(uids) = self.waiting.remove(&client.client_id) {
                found += 1;
                self.answer(&client, uids, asked_at, now);
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

    /// Answers resources with their client. Those that came after its page was requested wait for the
    /// next list.
    fn answer(
        &mut self,
        client: &ClientInfo,
        uids: Vec<String>,
        asked_at: BootInstant,
        now: Instant,
    ) {
        let page = self.pages.count;
        for uid in uids {
            let Some(entry) = self.entries.get_mut(&uid) else { continue };
            if !matches!(entry.state, EntryState::Waiting { since_page } if since_page <= page) {
                self.waiting.entry(client.client_id.clone()).or_default().push(uid);
                continue;
            }
            let has_permission = match &entry.needs.metadata {
                Some(wanted) => has_metadata(client, wanted),
                None => true,
            };
            entry.state = if has_permission {
                let needs_secret = entry.needs.secret;
                let client = if needs_secret { client.clone() } else { without_secret(client) };
                EntryState::Answered(ListedAnswer { client, asked_at, received_at: now })
            } else {
                // A single read, without the secret, reports it.
                EntryState::Alone
            };
            self.ready.push(entry.key.clone());
        }
    }

    fn needs_secrets(&self) -> bool {
        let is_waiting = |entry: &&Entry| matches!(entry.state, EntryState::Waiting { .. });
        self.entries.values().filter(is_waiting).any(|entry| entry.needs.secret)
    }

    /// Records that the page has to be requested again.
    pub(super) fn record_throttled(&mut self) {
        self.is_requested = false;
    }

    /// Ends the list after a failure.
    pub(super) fn record_failure(&mut self, failure: Failure, now: Instant) {
        self.is_requested = false;
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

fn without_secret(client: &ClientInfo) -> ClientInfo {
    ClientInfo {
        client_id: client.client_id.clone(),
        metadata: client.metadata.clone(),
        secret: None,
        ..*client
    }
}

/// Returns whether a client has one of these entries in its metadata.
pub(in super::super) fn has_metadata(client: &ClientInfo, wanted: &[ClientMetadata]) -> bool {
    wanted.iter().any(|entry| client.metadata.get(&entry.key) == Some(&entry.value))
}

fn is_expired(answer: &ListedAnswer, now: Instant) -> bool {
    now.saturating_duration_since(answer.received_at) > ANSWER_TTL
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
