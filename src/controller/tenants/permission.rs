//! Whether a namespace may use a client of a cluster's tenant: the rules of `spec.allow`.
//!
//! Rules add up, and what no rule allows is not allowed. A rule that can't be understood makes the
//! whole tenant unusable rather than a little more or less open than was meant.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt as _};
use rotation::{Reason, Rejection};
use wildmatch::WildMatchPattern;

use crate::api::{AllowRule, ClientMetadata};

/// `*` for any characters; nothing else is special.
type Glob = WildMatchPattern<'*', '\0'>;

/// What a tenant's rules say of one namespace and one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::controller) enum Permission {
    /// The namespace may use the client.
    Granted,
    /// It depends on what the client's `client_metadata` has at Auth0: one of these entries.
    ByMetadata(Vec<ClientMetadata>),
    /// It may not, whatever Auth0 says.
    Denied(Rejection),
}

/// The labels of a namespace.
pub(in crate::controller) type Labels = BTreeMap<String, String>;

/// Why the rules can't be understood, if so.
pub(in crate::controller) fn check(rules: &[AllowRule]) -> Result<(), String> {
    for (position, rule) in rules.iter().enumerate() {
        if let Err(error) = Selector::try_from(rule.namespaces.clone()) {
            return Err(format!(
                "spec.allow[{position}].namespaces is no label selector ({error}): nothing is \
                 allowed until it is corrected"
            ));
        }
    }
    Ok(())
}

/// What the rules of `tenant` say. `labels` are those of the namespace, `None` when it is unknown.
pub(in crate::controller) fn permission(
    tenant: &str,
    rules: &[AllowRule],
    (namespace, labels): (&str, Option<&Labels>),
    client_id: &str,
) -> Permission {
    let selected: Vec<&AllowRule> =
        rules.iter().filter(|rule| labels.is_some_and(|labels| selects(rule, labels))).collect();
    if selected.is_empty() {
        return Permission::Denied(not_allowed(format!(
            "the ClusterAuth0Tenant {tenant} allows the namespace {namespace} nothing: no rule of its \
             spec.allow selects it; ask whoever administers the tenant"
        )));
    }
    let named: Vec<_> = selected.iter().filter(|rule| names(rule, client_id)).collect();
    if named.iter().any(|rule| rule.client_metadata.is_none()) {
        return Permission::Granted;
    }
    let wanted: Vec<_> = named.iter().filter_map(|rule| rule.client_metadata.clone()).collect();
    if wanted.is_empty() {
        Permission::Denied(other_client(tenant, namespace))
    } else {
        Permission::ByMetadata(wanted)
    }
}

/// The client is none of those that the rules for its namespace give.
pub(in crate::controller) fn other_client(tenant: &str, namespace: &str) -> Rejection {
    not_allowed(format!(
        "the ClusterAuth0Tenant {tenant} does not allow the namespace {namespace} to use this client: \
         no rule of its spec.allow gives it; ask whoever administers the tenant"
    ))
}

fn not_allowed(message: String) -> Rejection {
    Rejection::new(Reason::NotAllowed, message)
}

fn selects(rule: &AllowRule, labels: &Labels) -> bool {
    Selector::try_from(rule.namespaces.clone()).is_ok_and(|selector| selector.matches(labels))
}

/// The rule gives the client by its ID, or doesn't go by IDs.
fn names(rule: &AllowRule, client_id: &str) -> bool {
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

    fn asked(rules: &[AllowRule], labels: &[(&str, &str)], client_id: &str) -> Permission {
        let labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        permission("acme", rules, ("shop", Some(&labels)), client_id)
    }

    fn is_denied(permission: &Permission) -> bool {
        matches!(permission, Permission::Denied(refusal) if refusal.reason == Reason::NotAllowed)
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        assert!(is_denied(&asked(&[], &[("team", "shop")], "abc")));
    }

    #[test]
    fn a_namespace_that_is_not_known_is_allowed_nothing() {
        let all = rules(json!([{ "namespaces": {}, "clientIds": ["*"] }]));
        assert!(is_denied(&permission("acme", &all, ("shop", None), "abc")));
    }

    #[test]
    fn a_rule_gives_the_clients_of_its_globs_to_the_namespaces_of_its_selector() {
        let rules = rules(json!([
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientIds": ["2IcX*", "exact"] },
            { "namespaces": { "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["gold"] },
            ] }, "clientIds": ["*gold*"] },
        ]));
        let shop = [("team", "shop")];
        for client in ["2IcX", "2IcXabc", "exact"] {
            assert_eq!(asked(&rules, &shop, client), Permission::Granted, "{client}");
        }
        for client in ["2Icx", "x2IcX", "exactly", "EXACT", "", "a-gold-one"] {
            assert!(is_denied(&asked(&rules, &shop, client)), "{client}");
        }
        let both = [("team", "shop"), ("tier", "gold")];
        assert_eq!(asked(&rules, &both, "a-gold-one"), Permission::Granted, "rules add up");
        assert!(is_denied(&asked(&rules, &[("team", "else")], "exact")));
        assert!(is_denied(&asked(&rules, &[], "exact")));
    }

    #[test]
    fn no_character_but_the_star_is_special() {
        let rules = rules(json!([{ "namespaces": {}, "clientIds": ["a?c", "[ab]", "x.z"] }]));
        for client in ["abc", "a", "b", "xyz"] {
            assert!(is_denied(&asked(&rules, &[], client)), "{client}");
        }
        assert_eq!(asked(&rules, &[], "a?c"), Permission::Granted);
    }

    #[test]
    fn metadata_narrows_what_globs_give_and_stands_alone_without_them() {
        let entry = json!({ "key": "k8s-namespace", "value": "shop" });
        let wanted: ClientMetadata = serde_json::from_value(entry.clone()).unwrap();
        let rules = rules(json!([
            { "namespaces": {}, "clientIds": ["a*"], "clientMetadata": entry },
            { "namespaces": { "matchLabels": { "team": "shop" } }, "clientMetadata": entry },
        ]));
        assert_eq!(asked(&rules, &[], "abc"), Permission::ByMetadata(vec![wanted.clone()]));
        assert!(is_denied(&asked(&rules, &[], "bcd")));
        let shop = [("team", "shop")];
        assert_eq!(asked(&rules, &shop, "bcd"), Permission::ByMetadata(vec![wanted]));
    }

    #[test]
    fn a_selector_that_is_none_is_found_and_selects_nothing() {
        let rules = rules(json!([{ "namespaces": { "matchExpressions": [
            { "key": "tier", "operator": "Near", "values": ["gold"] },
        ] }, "clientIds": ["*"] }]));
        assert!(check(&rules).unwrap_err().contains("spec.allow[0].namespaces"));
        assert!(is_denied(&asked(&rules, &[("tier", "gold")], "abc")));
    }

    proptest! {
        #[test]
        fn a_glob_without_a_star_gives_itself_alone(glob in "[!-)+-~]{1,40}", client in "[!-~]{1,40}") {
            let rules = rules(json!([{ "namespaces": {}, "clientIds": [&glob] }]));
            prop_assert_eq!(asked(&rules, &[], &glob), Permission::Granted);
            prop_assert_eq!(asked(&rules, &[], &client) == Permission::Granted, client == glob);
        }
    }
}
