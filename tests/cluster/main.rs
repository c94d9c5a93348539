//! Tests of the operator's binary with a real etcd and kube-apiserver and a simulated Auth0.
//!
//! Each test has its own namespace, tenant and operator process. The operator has exactly the
//! permissions of `deploy/operator.yaml`. Each test ends with a leak scan of everything that the
//! operator wrote.

#![allow(clippy::unwrap_used, reason = "tests")]

// Rotations and the target Secret.
mod lifecycle;
mod staged;
mod phases;
mod requests;
mod ready;
mod kstatus;
mod drift;
mod several_clusters;
mod tampering;
mod kept_values;
mod contested_target;
mod consumers;
mod restarts;
mod argo_rollouts;
mod validation;
mod rejected;
mod denied_writes;
mod owner_references;
mod client_kinds;
mod finalizer;

// Auth0 and its tenants.
mod tenants;
mod cluster_tenants;
mod credentials;
mod tenant_status;
mod tenant_domain;
mod responses;
mod probe;
mod odd_clients;
mod rate_limit;
mod client_rate_limit;
mod shipped_defaults;
mod fair_share;
mod api_load;
mod network;
mod request_counts;
mod client_lists;
mod memory;
mod write_limits;
mod copied_text;

// Crashes, replicas and startup.
#[cfg(feature = "failpoints")]
mod crash_recovery;
#[cfg(feature = "failpoints")]
mod stale_calls;
mod high_availability;
mod clock_jumps;
mod restored_storage;
mod startup;
mod settled;
mod command_line;
mod crd_check;

// Permissions.
mod unauthorized_access;
mod adoption;
mod ownership;
mod credentials_target;
mod provenance;
mod recreation;
mod egress;
mod rbac;
mod rbac_audit;
mod selected_namespaces;
mod shards;
mod missing_permissions;
mod admission_policy;

// Logs, metrics and manifests.
mod redaction;
mod monitoring;
mod metrics_auth;
mod manifests;
