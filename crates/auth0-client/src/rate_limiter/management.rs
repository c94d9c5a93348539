//! The documented limits of the Management API.
//!
//! Enterprise plans have one limit for the whole API. Self-service plans have one for the reads of
//! clients, 100 per minute with a burst of 5, and another one for everything else, which responses
//! don't report (documentation, "Rate Limit Configurations"). Reads and everything else then have a
//! lane each, which learns only from its own responses.

use std::time::Duration;

use tokio::time::Instant;

use super::{Api, RateLimit, headers::RateLimitStatus, token_bucket::TokenBucket};

/// The highest configured rate for which the reads have a limit of their own unless Auth0 reports
/// otherwise. Self-service plans allow 150 other requests per minute.
const MAX_SELF_SERVICE_RATE: u32 = 2;

/// Reads of clients per minute on self-service plans.
const READS_PER_MINUTE: u32 = 100;

/// Burst of the reads of clients on self-service plans.
const READ_BURST: u32 = 5;

/// Whether the Management API has one limit or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Auth0 has not reported enough; the configured rate decides.
    Unknown,
    /// Reads and everything else count against the same limit.
    Shared,
    /// Reads have a limit of their own.
    Separate,
}

/// The limits of reads and of everything else, besides the configured rate of the whole API.
pub(super) struct ManagementLimits {
    plan: Plan,
    rate_limit: RateLimit,
    reads: Lane,
    others: Lane,
    /// The limit that the last response to a read reported.
    reported_for_reads: Option<u32>,
}

/// One documented limit.
struct Lane {
    bucket: TokenBucket,
    blocked_until: Option<Instant>,
}

impl ManagementLimits {
    pub(super) fn new(rate_limit: RateLimit, now: Instant) -> Self {
        let lane = |bucket| Lane { bucket, blocked_until: None };
        Self {
            plan: Plan::Unknown,
            rate_limit,
            reads: lane(read_bucket(rate_limit, now)),
            others: lane(TokenBucket::new(rate_limit, now)),
            reported_for_reads: None,
        }
    }

    pub(super) fn set_rate(&mut self, rate_limit: RateLimit, now: Instant) {
        self.rate_limit = rate_limit;
        self.reads.bucket.reconfigure(read_bucket(rate_limit, now), now);
        self.others.bucket.reconfigure(TokenBucket::new(rate_limit, now), now);
    }

    /// Returns true if reads and everything else have a limit each.
    pub(super) fn is_separate(&self) -> bool {
        match self.plan {
            Plan::Unknown => self.rate_limit.requests_per_second <= MAX_SELF_SERVICE_RATE,
            Plan::Shared => false,
            Plan::Separate => true,
        }
    }

    /// Returns how long a call waits that has `ahead` others of its kind before it.
    pub(super) fn wait(&self, api: Api, now: Instant, ahead: u32) -> Duration {
        self.lane(api).map_or(Duration::ZERO, |lane| lane.bucket.wait(now, ahead))
    }

    pub(super) fn blocked_until(&self, api: Api) -> Option<Instant> {
        self.lane(api)?.blocked_until
    }

    /// Returns whether a lane is blocked at this time.
    pub(super) fn is_blocked(&self, now: Instant) -> bool {
        [&self.reads, &self.others].iter().any(|lane| lane.blocked_until > Some(now))
    }

    /// Returns how long the lane takes to regain one call.
    pub(super) fn interval(&self, api: Api) -> Duration {
        self.lane(api).map_or(Duration::ZERO, |lane| lane.bucket.interval())
    }

    pub(super) fn take(&mut self, api: Api, now: Instant) {
        if let Some(lane) = self.lane_mut(api) {
            lane.bucket.try_take(now);
        }
    }

    pub(super) fn give_back(&mut self, api: Api) {
        if let Some(lane) = self.lane_mut(api) {
            lane.bucket.give_back();
        }
    }

    /// Blocks the calls of one lane until the given time. Afterwards they resume at its rate.
    pub(super) fn block(&mut self, api: Api, until: Instant) {
        if let Some(lane) = self.lane_mut(api) {
            lane.blocked_until = lane.blocked_until.max(Some(until));
            lane.bucket.lower_to(1, until);
        }
    }

    /// Learns from a successful response whether there is one limit or two: everything but reads is
    /// reported only if there is one.
    pub(super) fn learn_plan(&mut self, api: Api, reported: Option<RateLimitStatus>) {
        let limit = reported.map(|status| status.limit);
        match api {
            Api::ClientReads => self.reported_for_reads = limit.or(self.reported_for_reads),
            Api::Management if self.reported_for_reads.is_some() => {
                let is_shared = limit == self.reported_for_reads;
                self.plan = if is_shared { Plan::Shared } else { Plan::Separate };
            }
            Api::Management | Api::Authentication => {}
        }
    }

    /// Lowers the lane's count of available calls to the number that Auth0 reports.
    pub(super) fn record_status(
        &mut self,
        api: Api,
        status: RateLimitStatus,
        in_flight: u32,
        now: Instant,
    ) {
        if let Some(lane) = self.lane_mut(api) {
            lane.bucket.adjust_to(status, in_flight, now);
        }
    }

    fn lane(&self, api: Api) -> Option<&Lane> {
        match api {
            _ if !self.is_separate() => None,
            Api::ClientReads => Some(&self.reads),
            Api::Management => Some(&self.others),
            Api::Authentication => None,
        }
    }

    fn lane_mut(&mut self, api: Api) -> Option<&mut Lane> {
        match api {
            _ if !self.is_separate() => None,
            Api::ClientReads => Some(&mut self.reads),
            Api::Management => Some(&mut self.others),
            Api::Authentication => None,
        }
    }
}

/// Returns the bucket for reads. It never has more than the configured rate, and never more than
/// self-service plans allow while that rate is one of theirs.
fn read_bucket(rate_limit: RateLimit, now: Instant) -> TokenBucket {
    if rate_limit.requests_per_second > MAX_SELF_SERVICE_RATE {
        return TokenBucket::new(rate_limit, now);
    }
    let per_minute = (rate_limit.requests_per_second * 60).min(READS_PER_MINUTE);
    TokenBucket::per_minute(per_minute, rate_limit.burst.min(READ_BURST), now)
}
