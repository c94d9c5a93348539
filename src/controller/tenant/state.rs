//! The in-memory state of one tenant.

use std::time::Instant;

use super::credentials_watch::CredentialsWatch;
use crate::controller::write_budget::WriteBudget;

/// The in-memory state of one tenant.
#[derive(Default)]
pub(super) struct TenantState {
    /// Whether this process has checked the tenant before.
    pub(super) was_checked: bool,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When the rate limit was last written to the status.
    pub(super) rate_limit_reported_at: Option<Instant>,
    /// How many writes to the API server the tenant may still cause.
    pub(super) writes: WriteBudget,
    /// The watch on the credentials Secret, while the tenant waits for it to change.
    pub(super) credentials_watch: Option<CredentialsWatch>,
}
