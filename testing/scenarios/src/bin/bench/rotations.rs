//! Stages with rotations, which only the operator has.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Result;
use auth0_rotator::api::REQUEST_ANNOTATION;
use serde_json::{Value, json};
use testkit::measure::Durations;

use crate::{
    figures::{self as f},
    load,
    process::PeakSampler,
    stages::{DEADLINE, Run, mebibytes, milliseconds},
    subject::{self, Subject},
    watch::{Predicate, Status, Watch},
};

/// Grace period of the resources. It is the shortest with a margin, because a run waits for its end.
pub(crate) const GRACE_PERIOD: Duration = Duration::from_secs(45);
/// Time after which rotations that are due at once are no longer waited for.
const DUE_DEADLINE: Duration = Duration::from_secs(180);
/// One rotation per interval, when the time until a response is published is measured.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);
/// Log message with the time until a response was published.
const PUBLISHED: &str = "published the response of rotate-secret";

/// Returns whether a requested rotation has been confirmed: Auth0 has accepted the new secret, which
/// is in the target Secret.
fn is_confirmed(status: &Status, request: &str) -> bool {
    status.last_handled_request.as_deref() == Some(request)
        && status.phase().is_none_or(|phase| phase == "Grace")
}

/// Returns whether a requested rotation has ended.
fn is_over(status: &Status, request: &str) -> bool {
    status.last_handled_request.as_deref() == Some(request) && status.phase().is_none()
}

impl Run<'_> {
    async fn request_rotation(&self, number: usize, request: &str) -> Result<()> {
        let path = format!("{}/{}", Subject::Rotator.collection(), subject::name(number));
        let patch = json!({"metadata": {"annotations": {REQUEST_ANNOTATION: request}}});
        load::merge(&self.environment.load, &path, &patch).await.map(drop)
    }

    async fn watch_rotations(&self, request: &'static str) -> Result<Watch> {
        let path = Subject::Rotator.collection();
        let predicates: Vec<Predicate> = vec![
            Box::new(move |status| is_confirmed(status, request)),
            Box::new(move |status| is_over(status, request)),
        ];
        Watch::start(&self.environment.watch, &path, predicates).await
    }

    /// Requests a rotation of every resource at once.
    pub(crate) async fn rotate_all(&mut self) -> Result<()> {
        const REQUEST: &str = "rotate/all";
        self.progress("rotations requested at once");
        let objects = self.sample.objects;
        let process = self.environment.process()?;
        process.reset_peak();
        let before = self.environment.usage()?;
        let mut watch = self.watch_rotations(REQUEST).await?;
        let started = Instant::now();
        let request = async |number: usize| self.request_rotation(number, REQUEST).await;
        load::for_each(objects, load::CONCURRENCY, request).await?;
        let confirmed = watch.wait(0, objects, DEADLINE).await?;
        self.progress("end of the grace period");
        watch.wait(1, objects, DEADLINE).await?;
        self.environment.wait_until_quiet().await?;
        drop(watch);

        let used = self.used_since("rotations", &before)?;
        let sample = &mut self.sample;
        sample.set(&f::ROTATED, (confirmed - started).as_secs_f64());
        sample.set(&f::ROTATION_REQUESTS, sample.per_object(used.requests.total() as f64));
        sample.set(&f::ROTATION_AUTH0, sample.per_object(used.auth0.total() as f64));
        sample.set(&f::ROTATION_CPU, sample.per_object(milliseconds(used.cpu)));
        sample.set(&f::ROTATION_PEAK, mebibytes(process.peak_resident()?));
        Ok(())
    }

    /// Starts the operator with resources that are all due.
    pub(crate) async fn start_due(&mut self) -> Result<()> {
        self.progress("create resources that are due");
        self.create_resources().await?;
        self.progress("rotations due at once");
        let path = Subject::Rotator.collection();
        let predicate = |status: &Status| status.phase() == Some("Grace");
        let mut watch =
            Watch::start(&self.environment.watch, &path, vec![Box::new(predicate)]).await?;
        let started = Instant::now();
        let process = self.environment.start_controller()?;
        let sampler = PeakSampler::start(process);
        let finished = watch.wait(0, self.sample.objects, DUE_DEADLINE).await;
        // Not all of them need to be rotated: the memory is highest while they wait.
        self.environment.check()?;
        let time = finished.unwrap_or_else(|_| Instant::now()) - started;
        self.sample.set(&f::DUE_ROTATED, watch.met(0) as f64);
        self.sample.set(&f::DUE_SECONDS, time.as_secs_f64());
        self.sample.set(&f::DUE_PEAK, mebibytes(process.peak_resident()?));
        self.sample.set(&f::DUE_PEAK_ANONYMOUS, mebibytes(sampler.peak_anonymous()));
        Ok(())
    }

    /// Measures the time from the end of Auth0's response to rotate-secret until the API server has
    /// acknowledged the target Secret, with rotations one after another.
    pub(crate) async fn publish(&mut self) -> Result<()> {
        const REQUEST: &str = "rotate/paced";
        self.environment.command = self.environment.command.clone().args(["--log-level", "debug"]);
        self.start_empty().await?;
        self.progress("time until a response is published");
        let objects = self.sample.objects;
        let mut watch = self.watch_ready().await?;
        self.create_resources().await?;
        watch.wait(0, objects, DEADLINE).await?;
        self.environment.wait_until_quiet().await?;
        let mut watch = self.watch_rotations(REQUEST).await?;
        let request = async |number: usize| self.request_rotation(number, REQUEST).await;
        load::for_each_paced(objects, PUBLISH_INTERVAL, request).await?;
        watch.wait(0, objects, DEADLINE).await?;
        let log = fs::read_to_string(self.environment.controller()?.log_path())?;
        let times = publish_times(&log);
        for (figure, share) in
            [(&f::PUBLISH_MEDIAN, 0.5), (&f::PUBLISH_P99, 0.99), (&f::PUBLISH_WORST, 1.0)]
        {
            self.sample.set(figure, milliseconds(times.quantile(share)));
        }
        Ok(())
    }
}

fn publish_times(log: &str) -> Durations {
    let lines = log.lines().filter(|line| line.contains(PUBLISHED));
    let lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let milliseconds = lines.filter_map(|line| line["milliseconds"].as_f64());
    milliseconds.map(|milliseconds| Duration::from_secs_f64(milliseconds / 1000.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_log() {
        let log = format!("{{\"message\":\"{PUBLISHED}\",\"milliseconds\":7.5}}\nother\n");
        let times = publish_times(&log);
        assert_eq!((times.len(), times.quantile(1.0)), (1, Duration::from_micros(7500)));
    }

    #[test]
    fn confirmed_rotation_is_in_its_grace_period_or_over() {
        let status = |text: Value| serde_json::from_value::<Status>(text).unwrap();
        let rotating = |phase: &str| {
            status(json!({"lastHandledRequest": "rotate/1", "rotation": {"phase": phase}}))
        };
        assert!(!is_confirmed(&rotating("Confirming"), "rotate/1"));
        assert!(is_confirmed(&rotating("Grace"), "rotate/1"));
        assert!(!is_over(&rotating("Grace"), "rotate/1"));
        assert!(!is_confirmed(&rotating("Grace"), "rotate/2"));
        assert!(is_over(&status(json!({"lastHandledRequest": "rotate/1"})), "rotate/1"));
    }
}
