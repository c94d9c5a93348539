//! Tests of the chart and the manifests with Helm and kubectl on a real API server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod generated;
mod kustomize;
mod permissions;
mod release;
mod rendering;
mod admission_policy;
mod second_operator;
mod values;
