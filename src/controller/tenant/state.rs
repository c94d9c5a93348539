//! The in-memory state of one tenant.

use std::time::Instant;

use super::credentials_watch::CredentialsWatch;

/// The in-memory state of one tenant.
#[derive(Default)]
pub(super) struct TenantState {
    /// Failures in a row.
    pub(super) failures: u32,
    /// When the rate limit was last written to the status.
    pub(super) rate_limit_reported_at: Option<Instant>,
    /// The watch on the credentials Secret, while the tenant waits for it to change.
    pub(super) credentials_watch: Option<CredentialsWatch>,
}
