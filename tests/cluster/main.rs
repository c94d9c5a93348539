//! The operator's binary against a real etcd and kube-apiserver and a simulated Auth0.
//!
//! Every test has a namespace, a tenant and an operator process of its own, runs with exactly the
//! permissions of `deploy/operator.yaml`, and ends with a search for secrets in all that it wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod attempts;
mod budget;
mod consumers;
mod credentials;
mod definitions;
mod figures;
mod high_availability;
#[cfg(feature = "failpoints")]
mod kills;
mod lifecycle;
mod command_line;
mod manifests;
mod monitoring;
mod network;
mod cluster_tenants;
mod rbac;
mod rejected;
mod validation;
mod requests;
mod staged;
mod drift;
mod phases;
#[cfg(feature = "failpoints")]
mod stale_calls;
mod startup;
mod tampering;
mod tenants;
mod tenant_status;
mod redaction;
