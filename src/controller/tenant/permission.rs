//! Whether a namespace may use a client of a ClusterAuth0Tenant: the rules of `spec.allow`.
//!
//! Rules add up, and a request that no rule allows is denied. A rule that cannot be parsed makes the whole
//! tenant unusable, because ignoring it could allow more or less than its author meant.

use kube::core::{Selector, SelectorExt as _};
use rotation::{Reason, Rejection};
use wildmatch::WildMatchPattern;

use crate::api::{AllowRule, ClientMetadata, Labels};

/// `*` matches any characters; nothing else is special.
type Glob = WildMatchPattern<'*', '\0'>;

/// Result of a tenant's rules for one namespace and one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// The namespace may use the client.
    Granted,
    /// The namespace may use the client if its `client_metadata` has one of these entries.
    ByMetadata(Vec<ClientMetadata>),
    /// The namespace may not use the client.
    Denied(Rejection),
}

/// A request to use a client.
pub(super) struct PermissionRequest<'a> {
    /// The name of the ClusterAuth0Tenant.
    pub(super) tenant: &'a str,
    pub(super) namespace: &'a str,
    /// The labels of the namespace; `None` when they are unknown.
    pub(super) labels: Option<&'a Labels>,
    pub(super) client_id: &'a str,
}

/// Checks that all rules can be parsed.
///
/// # Errors
/// A message for the tenant's author.
pub(super) fn check_rules(rules: &[AllowRule]) -> Result<(), String> {
    for (position, rule) in rules.iter().enumerate() {
        if let Err(error) = Selector::try_from(rule.namespaces.clone()) {
            return Err(format!(
                "spec.allow[{position}].namespaces is not a label selector ({error}). Nothing is \
                 allowed until it is corrected"
            ));
        }
    }
    Ok(())
}

/// Returns what the rules say about a request.
pub(super) fn permission(rules: &[AllowRule], request: &PermissionRequest<'_>) -> Permission {
    let PermissionRequest { tenant, namespace, labels, client_id } = *request;
    let selected: Vec<&AllowRule> = match labels {
        Some(labels) => rules.iter().filter(|rule| selects_namespace(rule, labels)).collect(),
        None => Vec::new(),
    };
    if selected.is_empty() {
        return Permission::Denied(not_allowed(format!(
            "the ClusterAuth0Tenant {tenant} allows the namespace {namespace} no client: no rule of \
             its spec.allow selects it. Ask the tenant's administrator"
        )));
    }
    let mut metadata = Vec::new();
    for rule in selected.iter().filter(|rule| names_client(rule, client_id)) {
        match &rule.client_metadata {
            None => return Permission::Granted,
            Some(entry) => metadata.push(entry.clone()),
        }
    }
    if metadata.is_empty() {
        Permission::Denied(client_not_allowed(tenant, namespace))
    } else {
        Permission::ByMetadata(metadata)
    }
}

/// Returns the rejection of a client that no rule allows.
pub(crate) fn client_not_allowed(tenant: &str, namespace: &str) -> Rejection {
    not_allowed(format!(
        "the ClusterAuth0Tenant {tenant} does not allow the namespace {namespace} to use this client: \
         no rule of its spec.allow matches it. Ask the tenant's administrator"
    ))
}

fn not_allowed(message: String) -> Rejection {
    Rejection::new(Reason::NotAllowed, message)
}

fn selects_namespace(rule: &AllowRule, labels: &Labels) -> bool {
    Selector::try_from(rule.namespaces.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// Returns whether a rule matches the client by its ID, or does not select by ID.
fn names_client(rule: &AllowRule, client_id: &str) -> bool {
    let by_id = rule.client_ids.iter().any(|glob| Glob::new(glob).matches(client_id));
    by_id || (rule.client_ids.is_empty() && rule.client_metadata.is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn rules(rules: Value) -> Vec<AllowRule> {
        serde_json::from_value(rules).unwrap()
    }

    fn request<'a>(labels: Option<&'a Labels>, client_id: &'a str) -> PermissionRequest<'a> {
        PermissionRequest { tenant: "acme", namespace: "shop", labels, client_id }
    }

    fn permission_for(rules: &[AllowRule], labels: &[(&str, &str)], client_id: &str) -> Permission {
        let labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        permission(rules, &request(Some(&labels), client_id))
    }

    fn is_denied(permission: &Permission) -> bool {
        matches!(permission, Permission::Denied(rejection) if rejection.reason == Reason::NotAllowed)
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(is_denied(&permission_for(&[], &[("team", "shop")], "abc")));
    }

    #[test]
    fn unknown_namespace_is_allowed_nothing() {
        let all = rules(json!([{ "namespaces": {}, "clientIds": ["*"] }]));
        assert!(is_denied(&permission(&all, &request(None, "abc"))));
    }

    #[test]
    fn rule_allows_the_clients_of_its_globs_to_the_namespaces_of_its_selector() {
        let rules = rules(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["2IcX*", "exact"] },
            { "namespaces": { "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["gold"] },
            ] }, "clientIds": ["*gold*"] },
        ]));
        let shop = [("team", "shop")];
        for client in ["2IcX", "2IcXabc", "exact"] {
            assert_eq!(permission_for(&rules, &shop, client), Permission::Granted, "{client}");
        }
        for client in ["2Icx", "x2IcX", "exactly", "EXACT", "", "a-gold-one"] {
            assert!(is_denied(&permission_for(&rules, &shop, client)), "{client}");
        }
        let both = [("team", "shop"), ("tier", "gold")];
        assert_eq!(
            permission_for(&rules, &both, "a-gold-one"),
            Permission::Granted,
            "rules add up"
        );
        assert!(is_denied(&permission_for(&rules, &[("team", "else")], "exact")));
        assert!(is_denied(&permission_for(&rules, &[], "exact")));
    }

    #[test]
    fn only_the_star_is_special_in_a_glob() {
        let rules = rules(json!([{ "namespaces": {}, "clientIds": ["a?c", "[ab]", "x.z"] }]));
        for client in ["abc", "a", "b", "xyz"] {
            assert!(is_denied(&permission_for(&rules, &[], client)), "{client}");
        }
        assert_eq!(permission_for(&rules, &[], "a?c"), Permission::Granted);
    }

    #[test]
    fn metadata_narrows_globs_and_suffices_without_them() {
        let entry = json!({ "key": "k8s-namespace", "value": "shop" });
        let wanted: ClientMetadata = serde_json::from_value(entry.clone()).unwrap();
        let rules = rules(json!([
            { "namespaces": {}, "clientIds": ["a*"], "clientMetadata": entry },
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientMetadata": entry },
        ]));
        assert_eq!(
            permission_for(&rules, &[], "abc"),
            Permission::ByMetadata(vec![wanted.clone()])
        );
        assert!(is_denied(&permission_for(&rules, &[], "bcd")));
        let shop = [("team", "shop")];
        assert_eq!(permission_for(&rules, &shop, "bcd"), Permission::ByMetadata(vec![wanted]));
    }

    #[test]
    fn invalid_selector_is_reported_and_selects_nothing() {
        let rules = rules(json!([{ "namespaces": { "matchExpressions": [
            { "key": "tier", "operator": "Near", "values": ["gold"] },
        ] }, "clientIds": ["*"] }]));
        assert!(check_rules(&rules).unwrap_err().contains("spec.allow[0].namespaces"));
        assert!(is_denied(&permission_for(&rules, &[("tier", "gold")], "abc")));
    }

    proptest! {
        #[test]
        fn glob_without_a_star_matches_only_itself(glob in "[!-)+-~]{1,40}", client in "[!-~]{1,40}") {
            let rules = rules(json!([{ "namespaces": {}, "clientIds": [&glob] }]));
            prop_assert_eq!(permission_for(&rules, &[], &glob), Permission::Granted);
            prop_assert_eq!(permission_for(&rules, &[], &client) == Permission::Granted, client == glob);
        }
    }
}
