use auth0_client::{ClientSecret, NextPage};

use super::*;

const FIRST_PAGE: Next = Next::Request { from: None, with_secrets: true };

const SECRET: Needs = Needs { secret: true, metadata: None };

/// A batch and its time.
struct Clock {
    batch: Batch,
    now: Instant,
}

impl Clock {
    fn new() -> Self {
        let now = Instant::now();
        Self { batch: Batch::new(now), now }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// Admits a resource whose UID, name and client ID are the same.
    fn admit_in(&mut self, namespace: &str, name: &str) -> Turn {
        self.admit_with(namespace, name, SECRET)
    }

    fn admit_with(&mut self, namespace: &str, name: &str, needs: Needs) -> Turn {
        let key = ObjectKey::new(namespace, name);
        self.batch.admit(&Wanted { uid: name, key: &key, client_id: name, needs }, self.now)
    }

    fn admit(&mut self, name: &str) -> Turn {
        self.admit_in("shop", name)
    }

    fn admit_all(&mut self, names: impl IntoIterator<Item = usize>) {
        for name in names {
            self.admit(&name.to_string());
        }
    }

    fn next(&mut self) -> Next {
        self.batch.next(self.now)
    }

    /// Collects until the list starts.
    fn start_list(&mut self) {
        self.advance(QUIET);
        assert_eq!(self.next(), FIRST_PAGE);
    }

    fn page(&mut self, names: impl IntoIterator<Item = usize>, next: NextPage) {
        let client = |name: usize| ClientInfo {
            secret: ClientSecret::new(format!("secret-{name}").into()).ok(),
            metadata: [("team".to_owned(), "shop".to_owned())].into(),
            ..ClientInfo::assume_confidential(&name.to_string())
        };
        let clients = names.into_iter().map(client);
        let page = ClientPage { clients: clients.collect(), next };
        let received = ReceivedPage { page, asked_at: BootInstant::now() };
        self.batch.record_page(received, self.now);
    }

    fn ready(&mut self) -> Vec<String> {
        let mut names: Vec<_> = self.batch.take_ready().into_iter().map(|key| key.name).collect();
        names.sort_by_key(|name| name.parse::<usize>().unwrap_or_default());
        names
    }

    /// Ends the reconciles of the resources that may be reconciled.
    fn use_ready(&mut self) -> Vec<String> {
        let names = self.ready();
        names.iter().for_each(|name| self.batch.remove(name));
        names
    }

    fn take(&mut self, name: &str) -> bool {
        self.batch.take(name, self.now).is_some()
    }
}

fn from(position: &str) -> NextPage {
    NextPage::From(position.into())
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|name| name.to_string()).collect()
}

#[test]
fn few_resources_read_their_clients_on_their_own() {
    let mut clock = Clock::new();
    for name in ["1", "2"] {
        assert_eq!(clock.admit(name), Turn::Reconcile);
        assert_eq!(clock.admit(name), Turn::Reconcile, "again");
        assert!(!clock.take(name));
    }
    assert_eq!(clock.next(), Next::Stop);
    clock.batch.remove("1");
    assert_eq!(clock.admit("3"), Turn::Reconcile);
}

#[test]
fn one_list_answers_all_that_arrive_while_it_is_collected() {
    let mut clock = Clock::new();
    clock.admit_all(0..100);
    assert!(matches!(clock.next(), Next::Sleep(_)));
    clock.advance(QUIET / 2);
    clock.admit_all(100..150);
    assert!(matches!(clock.next(), Next::Sleep(_)), "resources still arrive");
    clock.start_list();
    assert_eq!(clock.ready(), names(0..0));
    clock.page(0..100, from("a"));
    assert_eq!(clock.use_ready(), names(2..100), "two read their clients on their own");
    assert_eq!(clock.next(), Next::Request { from: Some("a".into()), with_secrets: true });
    clock.page(100..200, NextPage::End);
    assert_eq!(clock.ready(), names(100..150));
    assert_eq!(clock.admit("120"), Turn::Reconcile);
    assert!(clock.take("120") && !clock.take("120"), "an answer is used once");
    assert!(!clock.take("199"), "clients that no resource needs are dropped");
}

#[test]
fn resources_that_arrive_all_the_time_delay_the_list_for_a_bounded_time() {
    let mut clock = Clock::new();
    clock.admit_all(0..10);
    let mut number = 10;
    let started_at = clock.now;
    while clock.next() != FIRST_PAGE {
        clock.advance(QUIET / 2);
        clock.admit_all(number..number + 10);
        number += 10;
        assert!(clock.now - started_at <= MAX_COLLECTING);
    }
}

#[test]
fn resource_that_arrives_late_gets_no_answer_from_an_earlier_page() {
    let mut clock = Clock::new();
    clock.admit_all(0..50);
    clock.start_list();
    clock.page(0..40, from("a"));
    // The client of this resource may have been on the page before.
    assert_eq!(clock.admit("99"), Turn::Wait);
    clock.page(40..50, NextPage::End);
    clock.batch.take_ready();
    assert!(!clock.take("99"));
    assert_eq!(clock.admit("99"), Turn::Wait);
    clock.advance(QUIET);
    // One client costs one request.
    assert!(matches!(clock.next(), Next::Sleep(_)));
    assert_eq!(clock.ready(), ["99"]);
    assert_eq!(clock.admit("99"), Turn::Reconcile);
}

#[test]
fn client_that_no_page_has_is_for_a_single_read() {
    let mut clock = Clock::new();
    clock.admit_all(0..10);
    clock.start_list();
    clock.page(0..9, NextPage::End);
    assert_eq!(clock.ready(), names(2..10));
    assert!(clock.take("8") && !clock.take("9"));
    assert_eq!(clock.admit("9"), Turn::Reconcile);
}

#[test]
fn failed_list_leaves_the_rest_to_single_reads() {
    for (failure, expected) in
        [(Failure::Unavailable, Turn::Wait), (Failure::Rejected, Turn::Reconcile)]
    {
        let mut clock = Clock::new();
        clock.admit_all(0..200);
        clock.start_list();
        clock.page(0..100, from("a"));
        clock.batch.record_failure(failure, clock.now);
        assert_eq!(clock.ready(), names(2..200));
        assert!(clock.take("99") && !clock.take("100"));
        assert_eq!(clock.admit("100"), Turn::Reconcile);
        // A list that Auth0 rejects is not repeated at once.
        assert_eq!(clock.admit("300"), expected, "{failure:?}");
    }
}

#[test]
fn pages_wait_while_answers_are_unused() {
    let mut clock = Clock::new();
    clock.admit_all(0..1000);
    clock.start_list();
    clock.page(0..17, from("a"));
    assert!(matches!(clock.next(), Next::Request { .. }));
    clock.page(17..19, from("b"));
    assert!(matches!(clock.next(), Next::Sleep(_)));
    clock.batch.remove("2");
    assert!(clock.take("3"));
    assert!(matches!(clock.next(), Next::Request { .. }));
}

#[test]
fn answer_expires() {
    let mut clock = Clock::new();
    clock.admit_all(0..10);
    clock.start_list();
    clock.page(0..10, NextPage::End);
    assert!(matches!(clock.next(), Next::Sleep(_)));
    clock.advance(ANSWER_TTL + Duration::from_millis(1));
    assert!(!clock.take("5"));
    assert_eq!(clock.next(), Next::Stop, "no secret is left");
    assert_eq!(clock.admit("6"), Turn::Reconcile);
}

#[test]
fn resource_that_is_gone_is_forgotten() {
    let mut clock = Clock::new();
    clock.admit_all(0..10);
    clock.batch.retain(|uid| uid == "3" || uid == "4");
    clock.start_list();
    clock.batch.remove("4");
    clock.page(0..10, NextPage::End);
    assert_eq!(clock.ready(), ["3"]);
    clock.batch.remove("3");
    assert!(clock.batch.is_empty() && clock.next() == Next::Stop);
}

#[test]
fn namespace_with_few_resources_does_not_wait_for_those_of_others() {
    let mut clock = Clock::new();
    clock.admit_all(0..500);
    assert_eq!(clock.admit_in("other", "900"), Turn::Wait);
    clock.start_list();
    assert_eq!(clock.admit_in("late", "901"), Turn::Reconcile);
    clock.page(0..100, from("a"));
    clock.use_ready();
    clock.advance(PATIENCE + Duration::from_millis(1));
    assert!(matches!(clock.next(), Next::Request { .. }));
    assert_eq!(clock.ready(), ["900"]);
}

#[test]
fn list_that_is_stuck_keeps_no_resource_waiting() {
    let mut clock = Clock::new();
    clock.admit_all(0..10);
    clock.start_list();
    clock.advance(MAX_SILENCE - QUIET);
    assert_eq!(clock.admit("5"), Turn::Wait);
    clock.advance(Duration::from_millis(1));
    assert_eq!(clock.admit("5"), Turn::Reconcile);
}

#[test]
fn client_of_several_resources_is_listed_once() {
    let mut clock = Clock::new();
    clock.admit_all(0..10);
    let key = ObjectKey::new("shop", "copy");
    let wanted = Wanted { uid: "copy", key: &key, client_id: "5", needs: SECRET };
    assert_eq!(clock.batch.admit(&wanted, clock.now), Turn::Wait);
    clock.start_list();
    clock.page(0..10, NextPage::End);
    assert!(clock.take("5") && clock.take("copy"));
}

#[test]
fn resource_that_arrives_while_a_page_is_read_waits_for_the_next_list() {
    let mut clock = Clock::new();
    clock.admit_all(0..50);
    clock.start_list();
    clock.admit_all(50..60);
    clock.page(0..60, NextPage::End);
    assert_eq!(clock.ready(), names(2..50));
    assert!(clock.take("49") && !clock.take("50"));
    names(0..50).iter().for_each(|name| clock.batch.remove(name));
    assert_eq!(clock.admit("50"), Turn::Wait);
    clock.start_list();
    clock.page(0..60, NextPage::End);
    assert_eq!(clock.ready(), names(50..60));
    assert!(clock.take("50"));
}

#[test]
fn page_that_was_throttled_is_requested_again() {
    let mut clock = Clock::new();
    clock.admit_all(0..50);
    clock.start_list();
    clock.batch.record_throttled();
    clock.admit_all(50..60);
    assert_eq!(clock.next(), FIRST_PAGE);
    clock.page(0..60, NextPage::End);
    assert_eq!(clock.ready(), names(2..60));
}

fn metadata(key: &str) -> Needs {
    let entry = ClientMetadata { key: key.into(), value: "shop".into() };
    Needs { secret: false, metadata: Some(vec![entry]) }
}

#[test]
fn list_has_secrets_only_if_a_resource_needs_one() {
    let mut clock = Clock::new();
    for name in ["0", "1", "2", "3", "4"] {
        clock.admit_with("shop", name, metadata("team"));
    }
    clock.advance(QUIET);
    assert_eq!(clock.next(), Next::Request { from: None, with_secrets: false });
    clock.page(0..5, NextPage::End);
    let answer = clock.batch.metadata("3", clock.now).unwrap();
    assert!(answer.client.secret.is_none() && answer.client.metadata.contains_key("team"));
    assert!(!clock.take("3"), "it was admitted without the need for a secret");
}

#[test]
fn secret_is_kept_only_for_a_client_with_the_required_metadata() {
    let mut clock = Clock::new();
    clock.admit_all(0..2);
    for (name, key) in [("2", "team"), ("3", "other"), ("4", "team")] {
        clock.admit_with("shop", name, Needs { secret: true, ..metadata(key) });
    }
    clock.start_list();
    clock.page(0..5, NextPage::End);
    assert_eq!(clock.ready(), names(2..5));
    assert!(clock.batch.metadata("3", clock.now).is_none());
    assert!(clock.batch.metadata("2", clock.now).unwrap().client.secret.is_none());
    assert!(clock.take("2") && !clock.take("3") && clock.take("4"));
}
