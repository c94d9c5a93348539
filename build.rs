//! Sets linker flags of the operator's binary.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if supports_packed_relocations() {
        // A bit for each relative relocation instead of 24 bytes, of which the binary has 1.7 MB that
        // the loader reads, and that stay resident.
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Returns whether the C library of this machine, for which the binary is built, is glibc 2.36 or newer.
fn supports_packed_relocations() -> bool {
    let variable = |name: &str| env::var(name).unwrap_or_default();
    if variable("CARGO_CFG_TARGET_ENV") != "gnu" || variable("HOST") != variable("TARGET") {
        return false;
    }
    let Ok(output) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let version = String::from_utf8_lossy(&output.stdout);
    let Some(version) = version.trim().strip_prefix("glibc 2.") else { return false };
    version.parse::<u32>().is_ok_and(|minor| minor >= 36)
}
