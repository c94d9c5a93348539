//! The figures that are measured.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Mebibytes,
    Kibibytes,
    Count,
    Percent,
    Times,
}

impl Unit {
    /// Formats a value without its unit.
    pub(crate) fn format(self, value: f64) -> String {
        match self {
            Self::Seconds | Self::Times => format!("{value:.2}"),
            Self::Milliseconds if value >= 100.0 => format!("{value:.0}"),
            Self::Milliseconds | Self::Percent => format!("{value:.2}"),
            Self::Mebibytes | Self::Kibibytes => format!("{value:.1}"),
            Self::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Self::Count => format!("{value:.2}"),
        }
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Mebibytes => "MiB",
            Self::Kibibytes => "KiB",
            Self::Count => "",
            Self::Percent => "%",
            Self::Times => "×",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Figure {
    /// Key in JSON.
    pub(crate) key: &'static str,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
}

macro_rules! figures {
    ($($name:ident = $key:literal, $title:literal, $unit:ident;)*) => {
        $(pub(crate) static $name: Figure =
            Figure { key: $key, title: $title, unit: Unit::$unit };)*
        /// All figures, in the order of the tables.
        pub(crate) static ALL: &[&Figure] = &[$(&$name),*];
    };
}

figures! {
    READY = "ready_seconds", "first created → all Ready", Seconds;
    READY_AFTER_LAST = "ready_after_last_created_seconds", "last created → all Ready", Seconds;
    CREATED = "created_seconds", "first created → last created", Seconds;
    EXISTING_READY = "existing_ready_seconds", "start with existing resources → all Ready", Seconds;
    BARE = "bare_writes_seconds", "two bare writes per object", Seconds;
    BARE_CONCURRENCY = "bare_writes_concurrency", "their concurrency", Count;
    BARE_RATIO = "ready_to_bare_writes", "first created → all Ready, compared with bare writes", Times;
    EXISTING_BARE_RATIO = "existing_ready_to_bare_writes",
        "start with existing resources → all Ready, compared with bare writes", Times;
    REQUESTS = "requests_per_object", "API requests per object, first sync", Count;
    WRITES = "writes_per_object", "of these, writes", Count;
    CPU = "cpu_milliseconds_per_object", "CPU per object, first sync", Milliseconds;
    AUTH0 = "auth0_requests", "Auth0 requests, first sync", Count;
    RESIDENT = "resident_mebibytes", "resident memory", Mebibytes;
    ANONYMOUS = "anonymous_mebibytes", "of this, anonymous", Mebibytes;
    PEAK = "peak_resident_mebibytes", "peak resident memory, first sync", Mebibytes;
    PER_OBJECT = "resident_kibibytes_per_object", "resident memory per object", Kibibytes;
    STEADY_CPU = "steady_cpu_percent", "steady state, share of a core", Percent;
    STEADY_REQUESTS = "steady_requests_per_minute", "steady state, API requests per minute", Count;
    RESTART = "restart_seconds", "restart → quiet", Seconds;
    RESTART_REQUESTS = "restart_requests", "restart, API requests", Count;
    RESTART_WRITES = "restart_writes", "restart, writes", Count;
    RESTART_AUTH0 = "restart_auth0_requests", "restart, Auth0 requests", Count;
    RESTART_CPU = "restart_cpu_milliseconds", "restart, CPU", Milliseconds;
    RESTART_RESIDENT = "restart_resident_mebibytes", "resident memory after a restart", Mebibytes;
    RESTART_PEAK = "restart_peak_resident_mebibytes", "peak resident memory, restart", Mebibytes;
    ROTATED = "rotated_seconds", "rotations requested at once → all confirmed", Seconds;
    ROTATION_REQUESTS = "requests_per_rotation", "API requests per rotation", Count;
    ROTATION_AUTH0 = "auth0_requests_per_rotation", "Auth0 requests per rotation", Count;
    ROTATION_CPU = "cpu_milliseconds_per_rotation", "CPU per rotation", Milliseconds;
    ROTATION_PEAK = "rotation_peak_resident_mebibytes", "peak resident memory, rotations", Mebibytes;
    DUE_ROTATED = "due_rotated", "due at once, rotations confirmed", Count;
    DUE_SECONDS = "due_seconds", "due at once, time", Seconds;
    DUE_PEAK = "due_peak_resident_mebibytes", "due at once, peak resident memory", Mebibytes;
    DUE_PEAK_ANONYMOUS = "due_peak_anonymous_mebibytes", "of this, anonymous", Mebibytes;
    PUBLISH_MEDIAN = "publish_median_milliseconds", "Auth0's response → Secret written, median", Milliseconds;
    PUBLISH_P99 = "publish_p99_milliseconds", "Auth0's response → Secret written, 99th percentile", Milliseconds;
    PUBLISH_WORST = "publish_worst_milliseconds", "Auth0's response → Secret written, worst", Milliseconds;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique() {
        let keys: HashSet<_> = ALL.iter().map(|figure| figure.key).collect();
        assert_eq!(keys.len(), ALL.len());
    }

    #[test]
    fn counts_are_exact() {
        assert_eq!(Unit::Count.format(4020.0), "4020");
        assert_eq!(Unit::Count.format(3.014), "3.01");
    }
}
