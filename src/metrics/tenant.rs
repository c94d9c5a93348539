//! Metrics of the requests to each tenant. The series of a tenant are removed with it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use auth0_client::RequestObserver;
use prometheus::{
    HistogramVec, IntCounterVec,
    core::{Collector, MetricVec, MetricVecBuilder},
    proto::{LabelPair, Metric},
};

use super::{Metrics, REQUEST_BUCKETS, Result, histogram, labels, opts};

/// Labels that identify a tenant.
pub(crate) const TENANT_LABELS: [&str; 3] = ["kind", "namespace", "tenant"];

/// Values of [`TENANT_LABELS`]. The namespace of a `ClusterAuth0Tenant` is empty.
pub(crate) type TenantName = [String; 3];

pub(super) fn requests() -> Result<IntCounterVec> {
    let help = "Operations at Auth0, by class and result: ok, or the class and the reason of the \
                error";
    let [kind, namespace, tenant] = TENANT_LABELS;
    let labels = [kind, namespace, tenant, "operation", "class", "result"];
    IntCounterVec::new(opts("auth0_requests_total", help), &labels)
}

pub(super) fn request_duration() -> Result<HistogramVec> {
    let help = "Duration of HTTP requests to Auth0, without the time that they waited for the rate \
                limit, by the API whose limit they count against";
    let [kind, namespace, tenant] = TENANT_LABELS;
    let histogram = histogram("auth0_request_duration_seconds", help, &REQUEST_BUCKETS);
    HistogramVec::new(histogram, &[kind, namespace, tenant, "api"])
}

/// Metrics of the requests to one tenant.
#[derive(Clone)]
pub(crate) struct TenantMetrics {
    name: TenantName,
    requests: IntCounterVec,
    request_duration: HistogramVec,
}

impl TenantMetrics {
    /// Counts an operation that ended.
    pub(crate) fn count_operation<T>(
        &self,
        operation: &'static str,
        outcome: &std::result::Result<T, auth0_client::Error>,
    ) {
        let (class, result) = match outcome {
            Ok(_) => ("ok", "ok"),
            Err(error) => (labels::error_class(error.class()), error.reason().as_str()),
        };
        let [kind, namespace, tenant] = self.name.each_ref().map(String::as_str);
        let labels = [kind, namespace, tenant, operation, class, result];
        self.requests.with_label_values(&labels).inc();
    }
}

impl RequestObserver for TenantMetrics {
    fn request_finished(&self, api: &'static str, took: Duration) {
        let [kind, namespace, tenant] = self.name.each_ref().map(String::as_str);
        let labels = [kind, namespace, tenant, api];
        self.request_duration.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// Returns the metrics of a tenant.
    pub(crate) fn tenant(&self, name: TenantName) -> TenantMetrics {
        TenantMetrics {
            name,
            requests: self.auth0_requests.clone(),
            request_duration: self.auth0_request_duration.clone(),
        }
    }

    /// Removes the series of all tenants other than `existing`.
    pub(crate) fn retain_tenants(&self, existing: &HashSet<TenantName>) {
        retain(&self.auth0_requests, existing);
        retain(&self.auth0_request_duration, existing);
    }
}

fn retain<T: MetricVecBuilder>(series: &MetricVec<T>, existing: &HashSet<TenantName>) {
    for family in series.collect() {
        for metric in family.get_metric() {
            if existing.contains(&tenant_name(metric)) {
                continue;
            }
            let labels: HashMap<_, _> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            // Fails if the series was removed in the meantime.
            drop(series.remove(&labels));
        }
    }
}

fn tenant_name(metric: &Metric) -> TenantName {
    TENANT_LABELS.map(|label| {
        let pair = metric.get_label().iter().find(|pair| pair.name() == label);
        pair.map_or("", LabelPair::value).to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> TenantName {
        ["Auth0Tenant".into(), "shop".into(), name.into()]
    }

    #[test]
    fn removes_the_series_of_a_deleted_tenant() {
        let metrics = Metrics::new().unwrap();
        for tenant in ["deleted", "existing"] {
            let tenant = metrics.tenant(name(tenant));
            tenant.count_operation("revoke", &Ok(()));
            tenant.count_operation::<()>("revoke", &Err(auth0_client::Error::NoResponse));
            tenant.request_finished("management", Duration::from_millis(3));
        }
        let text = || String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(text().contains("tenant=\"deleted\""));
        metrics.retain_tenants(&HashSet::from([name("existing")]));
        assert!(!text().contains("tenant=\"deleted\""));
        let existing = text().lines().filter(|line| line.contains("tenant=\"existing\"")).count();
        assert_eq!(existing, 2 + REQUEST_BUCKETS.len() + 3, "{}", text());
    }
}
