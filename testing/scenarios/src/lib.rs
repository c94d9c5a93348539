//! Parts that the programs `demo`, `torture`, `e2e` and `bench` share: their environment, a timeline of events,
//! and a report with assertions.

#![allow(missing_docs, reason = "names describe most fields and getters")]

pub mod program;

pub mod environment;
pub mod quickstart;

pub mod changes;
pub mod timeline;
pub mod tracker;
pub mod watch;

pub mod application_result;
pub mod report;
