//! Patterns of strings in the CRDs.

/// DNS subdomain (RFC 1123).
pub(super) const DNS_SUBDOMAIN: &str =
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Name of an object to which a resource refers. Less strict than [`DNS_SUBDOMAIN`]: an invalid
/// name refers to an object that doesn't exist.
pub(super) const OBJECT_NAME: &str = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";

/// Key of the data of a Secret. Keys can't start with `..`, which kubelets reserve.
pub(super) const SECRET_DATA_KEY: &str = r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$";

/// Client ID: printable ASCII without `#`, `%`, `/`, `?` and `\`, which have a meaning in URLs.
pub(super) const CLIENT_ID: &str = r#"^[!"$&-.0->@-\[\]-~]+$"#;
