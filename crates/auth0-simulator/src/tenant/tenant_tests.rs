use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::login::{ClientAuth, Proof, TokenRequest};
use super::*;

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
        rotate_shows_secret: true,
    })
}

fn with(client: ClientSeed) -> Tenant {
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

/// Status, error and text of a refusal.
fn refused(tenant: &mut Tenant, request: &TokenRequest) -> (u16, &'static str, String) {
    let refusal = tenant.token(request, at(0)).unwrap_err();
    (refusal.error.status.as_u16(), refusal.error.error, refusal.error.description)
}

#[test]
fn a_token_has_all_granted_scopes_or_those_asked_for() {
    let mut tenant = with(ClientSeed::new("a").secret("s").scopes(["read:x", "read:y"]));
    let scopes = |tenant: &mut Tenant, asked| {
        tenant.token(&request("a", "s", AUDIENCE, asked), at(0)).unwrap().scopes
    };
    assert_eq!(scopes(&mut tenant, None).len(), 2);
    assert_eq!(scopes(&mut tenant, Some(" ")).len(), 2);
    assert_eq!(scopes(&mut tenant, Some("read:y")), BTreeSet::from(["read:y".to_string()]));
    let (status, error, text) =
        refused(&mut tenant, &request("a", "s", AUDIENCE, Some("read:y read:z")));
    assert_eq!((status, error), (403, "access_denied"));
    assert_eq!(text, "Client has not been granted scopes: read:z");
}

#[test]
fn a_wrong_secret_comes_before_everything_else() {
    let mut tenant = with(ClientSeed::new("a").secret("s"));
    for (id, value) in [("a", "wrong"), ("a", ""), ("nobody", "s")] {
        let (status, error, text) = refused(&mut tenant, &request(id, value, "nowhere", None));
        assert_eq!((status, error, text.as_str()), (401, "access_denied", "Unauthorized"));
    }
    tenant.settings.wrong_secret = WrongSecret::InvalidClient;
    let (status, error, _) = refused(&mut tenant, &request("a", "wrong", AUDIENCE, None));
    assert_eq!((status, error), (401, "invalid_client"));
}

#[test]
fn audiences_are_told_apart() {
    let mut tenant = with(ClientSeed::new("a").secret("s"));
    for (audience, text) in [
        (AUDIENCE, "Client is not authorized to access"),
        ("https://known.example", "Client is not authorized to access"),
        ("https://unknown.example", "Service not found"),
        ("", "No audience parameter"),
    ] {
        let (status, error, description) = refused(&mut tenant, &request("a", "s", audience, None));
        assert_eq!((status, error), (403, "access_denied"));
        assert!(description.starts_with(text), "{audience}: {description}");
    }
}

#[test]
fn grant_types_are_checked_after_the_secret() {
    let mut tenant = with(
        ClientSeed::new("a").secret("s").field("grant_types", serde_json::json!(["password"])),
    );
    let mut wanted = request("a", "s", AUDIENCE, None);
    assert_eq!(refused(&mut tenant, &wanted).0, 403);
    assert_eq!(refused(&mut tenant, &wanted).1, "unauthorized_client");
    wanted.grant_type = "telepathy".into();
    assert_eq!(refused(&mut tenant, &wanted).1, "unsupported_grant_type");
    wanted.grant_type = "password".into();
    assert_eq!(refused(&mut tenant, &wanted).0, 501, "known to Auth0, not served here");
}

#[test]
fn a_public_client_gets_no_token_but_may_revoke() {
    let seed = ClientSeed::new("a").secret("s").scopes(["read:x"]);
    let public = seed
        .field("token_endpoint_auth_method", "none")
        .field("grant_types", serde_json::json!(["client_credentials"]));
    let mut tenant = with(public);
    let wanted = request("a", "s", AUDIENCE, None);
    assert_eq!(refused(&mut tenant, &wanted).1, "unauthorized_client");
    let auth = ClientAuth { client_id: "a".into(), proof: Proof::None };
    assert_eq!(tenant.revoke(&auth, at(0)), Ok(()));
}

#[test]
fn a_client_with_key_methods_has_no_secret_that_is_accepted() {
    let methods = serde_json::json!({"private_key_jwt": {}});
    let seed = ClientSeed::new("a").secret("s").field("client_authentication_methods", methods);
    let mut tenant = with(seed);
    assert!(!tenant.accepts("a", "s", at(0)));
    assert_eq!(refused(&mut tenant, &request("a", "s", AUDIENCE, None)).0, 401);
}

#[test]
fn a_removed_client_is_refused_and_a_replaced_one_starts_anew() {
    let mut tenant = with(ClientSeed::new("a").secret("old"));
    tenant.dashboard_change("a", Some("new".into()), at(0)).unwrap();
    tenant.seed(ClientSeed::new("a").secret("other"), at(1)).unwrap();
    assert!(tenant.accepts("a", "other", at(1)));
    assert!(!tenant.accepts("a", "old", at(1)) && !tenant.accepts("a", "new", at(1)));
    assert!(tenant.remove("a") && !tenant.remove("a"));
    assert!(!tenant.accepts("a", "other", at(1)));
    assert!(matches!(tenant.dashboard_change("a", None, at(1)), Err(SeedError::UnknownClient(_))));
}

#[test]
fn every_value_is_remembered_also_of_clients_that_are_gone() {
    let mut tenant = with(ClientSeed::new("a").secret("first").scopes(["read:x"]));
    tenant.dashboard_change("a", Some("second".into()), at(0)).unwrap();
    tenant.dashboard_change("a", Some("second".into()), at(0)).unwrap();
    let grant = tenant.token(&request("a", "first", AUDIENCE, None), at(0)).unwrap();
    tenant.remove("a");
    let ever = tenant.values().all();
    let secrets: Vec<&str> = ever.secrets.iter().map(ExposeSecret::expose_secret).collect();
    assert_eq!(secrets, ["first", "second"]);
    assert_eq!(ever.tokens[0].expose_secret(), grant.access_token.expose_secret());
}

#[test]
fn scopes_can_be_taken_from_a_client_without_touching_its_secret() {
    let mut tenant = with(ClientSeed::new("a").secret("s").scopes(["read:x"]));
    tenant.set_scopes("a", vec!["read:y".into()]).unwrap();
    let grant = tenant.token(&request("a", "s", AUDIENCE, None), at(0)).unwrap();
    assert_eq!(grant.scopes, BTreeSet::from(["read:y".to_string()]));
    tenant.set_scopes("a", Vec::new()).unwrap();
    assert_eq!(refused(&mut tenant, &request("a", "s", AUDIENCE, None)).0, 403);
}

/// One thing that happens to the client.
#[derive(Clone, Debug)]
enum Step {
    Rotate,
    /// PATCH to one of a few values, so that values come back.
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
    fn whatever_happens_one_of_the_values_so_far_logs_in(steps in steps(), seed: u64) {
        let mut tenant = with(
            ClientSeed::new("a").secret("first").scopes(["update:client_keys", "read:client_keys"]),
        );
        tenant.settings.seed = seed;
        tenant.settings.token_ttl = Duration::from_secs(1_000_000);
        let token = tenant.token(&request("a", "first", AUDIENCE, None), at(0)).unwrap();
        let token = token.access_token.expose_secret().to_string();
        let (mut now, mut changed) = (0, 0);
        for step in steps {
            let caller = tenant.caller(Some(&token), at(now)).unwrap();
            let before = tenant.values().all().secrets.len();
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
            if tenant.values().all().secrets.len() > before {
                changed = now;
            }
            let secrets = tenant.values().all().secrets;
            let current = secrets.last().unwrap().expose_secret().to_string();
            let accepted: BTreeSet<&str> = secrets
                .iter()
                .map(ExposeSecret::expose_secret)
                .filter(|value| tenant.accepts("a", value, at(now)))
                .collect();
            prop_assert!(!accepted.is_empty(), "locked out at {}", now);
            prop_assert_eq!(tenant.clients["a"].credential.current().expose_secret(), &current);
            if now >= changed + 30 {
                prop_assert_eq!(accepted, BTreeSet::from([current.as_str()]), "at {}", now);
            }
        }
    }
}
