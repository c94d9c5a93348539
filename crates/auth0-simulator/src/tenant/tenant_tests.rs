use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::{
    authentication::{ClientAuth, Proof, TokenRequest},
    *,
};
use crate::error::OAuthError;

const AUDIENCE: &str = "https://acme.eu.auth0.com/api/v2/";

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn tenant() -> Tenant {
    Tenant::new(TenantSettings {
        domain: "acme.eu.auth0.com".into(),
        audience: AUDIENCE.into(),
        apis: BTreeSet::from(["https://known.example".to_string()]),
        seed: 1,
        propagation: Propagation::AUTH0,
        token_ttl: Duration::from_secs(60),
        wrong_secret: WrongSecret::AccessDenied,
        revocation_auth: RevocationAuth::AllClients,
        rotate_shows_secret: true,
    })
}

fn tenant_with(client: ClientSeed) -> Tenant {
    let mut tenant = tenant();
    tenant.seed(client, at(0)).unwrap();
    tenant
}

fn request(id: &str, value: &str, audience: &str, scope: Option<&str>) -> TokenRequest {
    TokenRequest {
        auth: ClientAuth { client_id: id.into(), proof: Proof::Secret(value.into()) },
        grant_type: "client_credentials".into(),
        audience: Some(audience.into()),
        scope: scope.map(Into::into),
    }
}

/// Returns status, error and description of a rejection.
fn rejection(tenant: &mut Tenant, request: &TokenRequest) -> (u16, &'static str, String) {
    let OAuthError { status, error, description } = tenant.token(request, at(0)).unwrap_err().error;
    (status.as_u16(), error, description)
}

#[test]
fn token_has_the_requested_scopes_or_all_granted_ones() {
    let mut tenant = tenant_with(ClientSeed::new("a").secret("s").scopes(["read:x", "read:y"]));
    let scopes = |tenant: &mut Tenant, requested| {
        tenant.token(&request("a", "s", AUDIENCE, requested), at(0)).unwrap().scopes
    };
    assert_eq!(scopes(&mut tenant, None).len(), 2);
    assert_eq!(scopes(&mut tenant, Some(" ")).len(), 2);
    assert_eq!(scopes(&mut tenant, Some("read:y")), BTreeSet::from(["read:y".to_string()]));
    let (status, error, text) =
        rejection(&mut tenant, &request("a", "s", AUDIENCE, Some("read:y read:z")));
    assert_eq!((status, error), (403, "access_denied"));
    assert_eq!(text, "Client has not been granted scopes: read:z");
}

#[test]
fn checks_the_secret_before_everything_else() {
    let mut tenant = tenant_with(ClientSeed::new("a").secret("s"));
    for (id, value) in [("a", "wrong"), ("a", ""), ("unknown", "s")] {
        let (status, error, text) = rejection(&mut tenant, &request(id, value, "nowhere", None));
        assert_eq!((status, error, text.as_str()), (401, "access_denied", "Unauthorized"));
    }
    tenant.settings.wrong_secret = WrongSecret::InvalidClient;
    let (status, error, _) = rejection(&mut tenant, &request("a", "wrong", AUDIENCE, None));
    assert_eq!((status, error), (401, "invalid_client"));
}

#[test]
fn distinguishes_missing_unknown_and_ungranted_audiences() {
    let mut tenant = tenant_with(ClientSeed::new("a").secret("s"));
    for (audience, text) in [
        (AUDIENCE, "Client is not authorized to access"),
        ("https://known.example", "Client is not authorized to access"),
        ("https://unknown.example", "Service not found"),
        ("", "No audience parameter"),
    ] {
        let (status, error, description) =
            rejection(&mut tenant, &request("a", "s", audience, None));
        assert_eq!((status, error), (403, "access_denied"));
        assert!(description.starts_with(text), "{audience}: {description}");
    }
}

#[test]
fn checks_the_grant_type_after_the_secret() {
    let mut tenant = tenant_with(
        ClientSeed::new("a").secret("s").field("grant_types", serde_json::json!(["password"])),
    );
    let mut token_request = request("a", "s", AUDIENCE, None);
    assert_eq!(rejection(&mut tenant, &token_request).0, 403);
    assert_eq!(rejection(&mut tenant, &token_request).1, "unauthorized_client");
    token_request.grant_type = "telepathy".into();
    assert_eq!(rejection(&mut tenant, &token_request).1, "unsupported_grant_type");
    token_request.grant_type = "password".into();
    assert_eq!(
        rejection(&mut tenant, &token_request).0,
        501,
        "supported by Auth0 but not by the simulator"
    );
}

#[test]
fn public_client_gets_no_token_but_can_revoke() {
    let seed = ClientSeed::new("a").secret("s").scopes(["read:x"]);
    let public = seed
        .field("token_endpoint_auth_method", "none")
        .field("grant_types", serde_json::json!(["client_credentials"]));
    let mut tenant = tenant_with(public);
    let token_request = request("a", "s", AUDIENCE, None);
    assert_eq!(rejection(&mut tenant, &token_request).1, "unauthorized_client");
    let auth = ClientAuth { client_id: "a".into(), proof: Proof::None };
    assert_eq!(tenant.revoke(&auth, at(0)), Ok(()));
}

#[test]
fn rejects_the_secret_of_a_client_with_keys() {
    let methods = serde_json::json!({"private_key_jwt": {}});
    let seed = ClientSeed::new("a").secret("s").field("client_authentication_methods", methods);
    let mut tenant = tenant_with(seed);
    assert!(!tenant.accepts("a", "s", at(0)));
    assert_eq!(rejection(&mut tenant, &request("a", "s", AUDIENCE, None)).0, 401);
}

#[test]
fn rejects_removed_client_and_resets_replaced_client() {
    let mut tenant = tenant_with(ClientSeed::new("a").secret("old"));
    tenant.dashboard_change("a", Some("new".into()), at(0)).unwrap();
    tenant.seed(ClientSeed::new("a").secret("other"), at(1)).unwrap();
    assert!(tenant.accepts("a", "other", at(1)));
    assert!(!tenant.accepts("a", "old", at(1)) && !tenant.accepts("a", "new", at(1)));
    assert!(tenant.remove("a") && !tenant.remove("a"));
    assert!(!tenant.accepts("a", "other", at(1)));
    assert!(matches!(tenant.dashboard_change("a", None, at(1)), Err(SeedError::UnknownClient(_))));
}

#[test]
fn value_history_includes_removed_clients() {
    let mut tenant = tenant_with(ClientSeed::new("a").secret("first").scopes(["read:x"]));
    tenant.dashboard_change("a", Some("second".into()), at(0)).unwrap();
    tenant.dashboard_change("a", Some("second".into()), at(0)).unwrap();
    let token = tenant.token(&request("a", "first", AUDIENCE, None), at(0)).unwrap();
    tenant.remove("a");
    let history = tenant.values().snapshot();
    let secrets: Vec<&str> = history.secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, ["first", "second"]);
    assert_eq!(history.tokens[0].expose_secret(), token.access_token.expose_secret());
}

#[test]
fn replaces_scopes_without_changing_the_secret() {
    let mut tenant = tenant_with(ClientSeed::new("a").secret("s").scopes(["read:x"]));
    tenant.set_scopes("a", vec!["read:y".into()]).unwrap();
    let token = tenant.token(&request("a", "s", AUDIENCE, None), at(0)).unwrap();
    assert_eq!(token.scopes, BTreeSet::from(["read:y".to_string()]));
    tenant.set_scopes("a", Vec::new()).unwrap();
    assert_eq!(rejection(&mut tenant, &request("a", "s", AUDIENCE, None)).0, 403);
}

/// One step of a random scenario.
#[derive(Clone, Debug)]
enum Step {
    Rotate,
    /// PATCH to one of a few values, so that values repeat.
    Patch(u8),
    Dashboard,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        Just(Step::Rotate),
        (0u8..3).prop_map(Step::Patch),
        Just(Step::Dashboard),
        (0u64..40).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..20)
}

proptest! {
    #[test]
    fn some_recorded_value_is_accepted_after_any_steps(steps in steps(), seed: u64) {
        let mut tenant = tenant_with(
            ClientSeed::new("a").secret("first").scopes(["update:client_keys", "read:client_keys"]),
        );
        tenant.settings.seed = seed;
        tenant.settings.token_ttl = Duration::from_secs(1_000_000);
        let token = tenant.token(&request("a", "first", AUDIENCE, None), at(0)).unwrap();
        let token = token.access_token.expose_secret().to_string();
        let (mut now, mut changed_at) = (0, 0);
        for step in steps {
            let caller = tenant.caller(Some(&token), at(now)).unwrap();
            let before = tenant.values().snapshot().secrets.len();
            match step {
                Step::Rotate => drop(tenant.rotate(&caller, "a", at(now)).unwrap()),
                Step::Patch(value) => {
                    let body = serde_json::json!({"client_secret": format!("patch-{value}")});
                    let serde_json::Value::Object(body) = body else { unreachable!() };
                    tenant.update(&caller, "a", body, at(now)).unwrap();
                }
                Step::Dashboard => drop(tenant.dashboard_change("a", None, at(now)).unwrap()),
                Step::Wait(seconds) => now += seconds,
            }
            if tenant.values().snapshot().secrets.len() > before {
                changed_at = now;
            }
            let secrets = tenant.values().snapshot().secrets;
            let current = secrets.last().unwrap().expose_secret().to_string();
            let accepted: BTreeSet<&str> = secrets
                .iter()
                .map(ExposeSecret::expose_secret)
                .filter(|value| tenant.accepts("a", value, at(now)))
                .collect();
            prop_assert!(!accepted.is_empty(), "no value is accepted at {}", now);
            prop_assert_eq!(tenant.clients["a"].secret.current().expose_secret(), &current);
            if now >= changed_at + 30 {
                prop_assert_eq!(accepted, BTreeSet::from([current.as_str()]), "at {}", now);
            }
        }
    }
}

#[test]
fn client_from_a_metadata_document_shows_a_secret_that_it_may_not_use() {
    let mut tenant = tenant_with(ClientSeed::new("a").secret("s"));
    assert!(tenant.accepts("a", "s", at(0)));
    let fields = serde_json::json!({ "external_metadata_type": "cimd", "global": true });
    tenant.set_fields("a", fields.as_object().unwrap().clone()).unwrap();
    assert!(!tenant.accepts("a", "s", at(0)));
    let view = tenant.clients["a"].view("a", "acme", client::Visibility::ALL);
    assert_eq!((&view["client_secret"], &view["global"]), (&"s".into(), &true.into()));
    let wrong = serde_json::json!({ "global": "yes" });
    assert!(tenant.set_fields("a", wrong.as_object().unwrap().clone()).is_err());
}
