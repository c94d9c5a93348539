//! What `make demo` and `make torture` are built on: the operator as a process that ends with its
//! owner, the control plane with what is applied to it, the manifests of this checkout, and a
//! terminal.

pub mod cluster;
pub mod interrupts;
pub mod manifests;
pub mod operator;
pub mod terminal;
