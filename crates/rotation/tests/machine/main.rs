//! The machine on a world of symbols: what it does, and what it does when things go wrong.

#![allow(clippy::unwrap_used, reason = "tests")]

mod crash;
mod forbidden;
mod foreign;
mod lifecycle;
mod planned;
mod requests;
mod world;
