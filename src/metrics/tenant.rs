//! What is counted for each tenant: its series go when the tenant goes.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use prometheus::{
    HistogramVec, IntCounterVec,
    core::{Collector, MetricVec, MetricVecBuilder},
    proto::{LabelPair, Metric},
};

use super::{CALL_BUCKETS, Metrics, Result, histogram, opts, words};
use auth0_client::RequestObserver;

/// The labels that say which tenant it is.
pub(crate) const TENANT_LABELS: [&str; 3] = ["kind", "namespace", "tenant"];

/// Kind, namespace and name of a tenant; a `ClusterAuth0Tenant` has an empty namespace.
pub(crate) type TenantName = [String; 3];

pub(super) fn calls() -> Result<IntCounterVec> {
    let help = "Operations at Auth0, by how they ended: class and result are ok, or the class of \
                the error and its reason";
    let [kind, namespace, tenant] = TENANT_LABELS;
    let labels = [kind, namespace, tenant, "operation", "class", "result"];
    IntCounterVec::new(opts("auth0_requests_total", help), &labels)
}

pub(super) fn call_seconds() -> Result<HistogramVec> {
    let help = "How long HTTP requests to Auth0 took, without the wait for their turn, by the API \
                that Auth0 counts them for";
    let [kind, namespace, tenant] = TENANT_LABELS;
    let histogram = histogram("auth0_request_duration_seconds", help, &CALL_BUCKETS);
    HistogramVec::new(histogram, &[kind, namespace, tenant, "api"])
}

/// Counts what is asked of one tenant.
#[derive(Clone)]
pub(crate) struct TenantMeter {
    name: TenantName,
    calls: IntCounterVec,
    seconds: HistogramVec,
}

impl TenantMeter {
    /// An operation ended.
    pub(crate) fn called<T>(
        &self,
        operation: &'static str,
        called: &std::result::Result<T, auth0_client::Error>,
    ) {
        let (class, result) = match called {
            Ok(_) => ("ok", "ok"),
            Err(error) => (words::class(error.class()), error.reason().as_str()),
        };
        let [kind, namespace, tenant] = self.name.each_ref().map(String::as_str);
        self.calls.with_label_values(&[kind, namespace, tenant, operation, class, result]).inc();
    }
}

impl RequestObserver for TenantMeter {
    fn request_finished(&self, api: &'static str, took: Duration) {
        let [kind, namespace, tenant] = self.name.each_ref().map(String::as_str);
        let labels = [kind, namespace, tenant, api];
        self.seconds.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

impl Metrics {
    /// What counts for a tenant.
    pub(crate) fn tenant(&self, name: TenantName) -> TenantMeter {
        TenantMeter { name, calls: self.calls.clone(), seconds: self.call_seconds.clone() }
    }

    /// Forgets the series of all other tenants.
    pub(crate) fn keep_tenants(&self, present: &HashSet<TenantName>) {
        forget(&self.calls, present);
        forget(&self.call_seconds, present);
    }
}

fn forget<T: MetricVecBuilder>(series: &MetricVec<T>, present: &HashSet<TenantName>) {
    let is_gone = |metric: &&Metric| {
        !present.contains(&TENANT_LABELS.map(|label| value(metric, label).to_owned()))
    };
    for family in series.collect() {
        for metric in family.get_metric().iter().filter(is_gone) {
            let labels: HashMap<_, _> =
                metric.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
            // It may have been removed meanwhile, which is as good.
            drop(series.remove(&labels));
        }
    }
}

fn value<'m>(metric: &'m Metric, label: &str) -> &'m str {
    metric.get_label().iter().find(|pair| pair.name() == label).map_or("", LabelPair::value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> TenantName {
        ["Auth0Tenant".into(), "shop".into(), name.into()]
    }

    #[test]
    fn the_series_of_a_tenant_go_with_it() {
        let metrics = Metrics::new().unwrap();
        for tenant in ["gone", "stays"] {
            let meter = metrics.tenant(name(tenant));
            meter.called("revoke", &Ok(()));
            meter.called::<()>("revoke", &Err(auth0_client::Error::NoResponse));
            meter.request_finished("management", Duration::from_millis(3));
        }
        let text = || String::from_utf8(metrics.encode().unwrap()).unwrap();
        assert!(text().contains("tenant=\"gone\""));
        metrics.keep_tenants(&HashSet::from([name("stays")]));
        assert!(!text().contains("tenant=\"gone\""));
        let stays = text().lines().filter(|line| line.contains("tenant=\"stays\"")).count();
        assert_eq!(stays, 2 + CALL_BUCKETS.len() + 3, "{}", text());
    }
}
