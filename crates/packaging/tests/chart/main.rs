//! The chart and the manifests, with the tools that people install them with, on a real API server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod cluster;
mod current;
mod kustomize;
mod releases;
mod renderings;
mod rules;
mod schema;
mod second;
