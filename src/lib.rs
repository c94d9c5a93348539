//! Rotates Auth0 client secrets.
