//! How a good client logs in while secrets are rotated under it.

use secrecy::{ExposeSecret as _, SecretString};

use crate::tally::Outcome;

/// What a consumer knows: the list that it read last, and the secret that worked last.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    pub list: Vec<SecretString>,
    works: Option<SecretString>,
}

impl Knowledge {
    /// What a consumer knows that has just read its Secret for the first time.
    pub fn new(list: Vec<SecretString>) -> Self {
        Self { list, works: None }
    }

    /// The secrets to try: the one that worked last, then the list in its order.
    fn candidates(&self) -> Vec<SecretString> {
        let others = self
            .list
            .iter()
            .filter(|listed| self.works.as_ref().is_none_or(|works| !is_same(works, listed)));
        self.works.iter().chain(others).cloned().collect()
    }

    /// Whether `value` is in the list.
    fn lists(&self, value: &SecretString) -> bool {
        self.list.iter().any(|listed| is_same(listed, value))
    }
}

fn is_same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret() == b.expose_secret()
}

/// Where a consumer logs in and reads its Secret from.
#[allow(async_fn_in_trait, reason = "who logs in knows where it runs")]
pub trait Surroundings {
    /// Whether Auth0 accepts a secret.
    async fn ask(&self, secret: &SecretString) -> bool;

    /// The list in the Secret, `None` when it can't be read.
    async fn read(&self) -> Option<Vec<SecretString>>;

    /// The secret that Auth0 has, which a consumer has no way to know: it tells only how a failed
    /// login is counted.
    fn truth(&self) -> Option<SecretString>;
}

/// Logs in: tries what is known in order, then what a fresh reading of the Secret has.
pub async fn log_in(knowledge: &mut Knowledge, surroundings: &impl Surroundings) -> Outcome {
    let candidates = knowledge.candidates();
    if let Some(place) = first_accepted(&candidates, surroundings).await {
        knowledge.works = candidates.get(place).cloned();
        return if place == 0 { Outcome::First } else { Outcome::Later };
    }
    knowledge.works = None;
    if let Some(list) = surroundings.read().await {
        knowledge.list = list;
    }
    let candidates = knowledge.candidates();
    if let Some(place) = first_accepted(&candidates, surroundings).await {
        knowledge.works = candidates.get(place).cloned();
        return Outcome::Reread;
    }
    match surroundings.truth() {
        Some(truth) if !knowledge.lists(&truth) => Outcome::FailedUnpublished,
        _ => Outcome::Failed,
    }
}

async fn first_accepted(
    candidates: &[SecretString],
    surroundings: &impl Surroundings,
) -> Option<usize> {
    for (place, candidate) in candidates.iter().enumerate() {
        if surroundings.ask(candidate).await {
            return Some(place);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Auth0 accepts `accepted` and has the last of them; the Secret lists `published`.
    struct World {
        accepted: &'static [&'static str],
        published: Option<&'static [&'static str]>,
    }

    fn values(texts: &[&str]) -> Vec<SecretString> {
        texts.iter().map(|text| SecretString::from(*text)).collect()
    }

    impl Surroundings for World {
        async fn ask(&self, secret: &SecretString) -> bool {
            self.accepted.contains(&secret.expose_secret())
        }

        async fn read(&self) -> Option<Vec<SecretString>> {
            self.published.map(values)
        }

        fn truth(&self) -> Option<SecretString> {
            self.accepted.last().map(|text| SecretString::from(*text))
        }
    }

    async fn outcome(knowledge: &mut Knowledge, world: &World) -> Outcome {
        log_in(knowledge, world).await
    }

    fn knowing(list: &[&str]) -> Knowledge {
        Knowledge::new(values(list))
    }

    #[tokio::test]
    async fn a_rotation_is_followed() {
        let mut knowledge = knowing(&["old"]);
        let mut world = World { accepted: &["old"], published: Some(&["old"]) };
        assert_eq!(outcome(&mut knowledge, &world).await, Outcome::First);

        // Rotated and published; Auth0 still takes the old one, which goes on being used.
        world = World { accepted: &["old", "new"], published: Some(&["new", "old"]) };
        assert_eq!(outcome(&mut knowledge, &world).await, Outcome::First);

        // Auth0 takes the new one only, which this consumer has not read yet.
        world = World { accepted: &["new"], published: Some(&["new", "old"]) };
        assert_eq!(outcome(&mut knowledge, &world).await, Outcome::Reread);
        assert_eq!(outcome(&mut knowledge, &world).await, Outcome::First);
    }

    #[tokio::test]
    async fn the_list_is_tried_in_its_order() {
        let world = World { accepted: &["b"], published: None };
        assert_eq!(outcome(&mut knowing(&["a", "b"]), &world).await, Outcome::Later);
        assert_eq!(outcome(&mut knowing(&["b", "a"]), &world).await, Outcome::First);
    }

    #[tokio::test]
    async fn what_works_outlives_a_list_that_somebody_broke() {
        let mut knowledge = knowing(&["a"]);
        let world = World { accepted: &["a"], published: Some(&["broken"]) };
        assert_eq!(outcome(&mut knowledge, &world).await, Outcome::First);
        knowledge.list = values(&["broken"]);
        assert_eq!(outcome(&mut knowledge, &world).await, Outcome::First);
    }

    #[tokio::test]
    async fn a_failure_before_the_publication_is_told_from_one_after_it() {
        let unpublished = World { accepted: &["new"], published: Some(&["old"]) };
        assert_eq!(outcome(&mut knowing(&["old"]), &unpublished).await, Outcome::FailedUnpublished);
        let unreadable = World { accepted: &["new"], published: None };
        assert_eq!(outcome(&mut knowing(&["old"]), &unreadable).await, Outcome::FailedUnpublished);
        let nothing_accepted = World { accepted: &[], published: Some(&["old"]) };
        assert_eq!(outcome(&mut knowing(&["old"]), &nothing_accepted).await, Outcome::Failed);
    }
}
