//! Which of several replicas acts.

mod terms;

pub use terms::Terms;
