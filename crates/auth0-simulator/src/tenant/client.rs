//! One application (client): its fields, its secret, its grants, and who may see what of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::assertion::{KeyAlgorithm, KeySeed, PublicKey};
use super::fields::{self, Body, Fields};
use crate::error::SeedError;
use crate::propagation::Credential;
use crate::secret;

/// Scope names, sorted.
pub(crate) type Scopes = BTreeSet<String>;

const LONGEST_ID: usize = 256;

/// A client to put into the tenant, as the library, the admin interface and a file of clients
/// take it. What is left out is generated or gets the value of a machine-to-machine application.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSeed {
    /// The client's id, 1 to 256 characters. Generated when empty.
    #[serde(default)]
    pub client_id: String,
    /// The secret; generated (64 characters of `[A-Za-z0-9_-]`) when absent.
    #[serde(default)]
    pub client_secret: Option<SecretString>,
    /// The name that Auth0 shows; the id when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Scopes granted for the Management API's audience. Without any, the client has no grant
    /// for it and is refused a token.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Scopes granted for other audiences, which exist by being named here.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<String>>,
    /// Public keys for assertions (private_key_jwt). With any, the client has no secret that
    /// authentication accepts, and `client_authentication_methods` names them.
    #[serde(default)]
    pub public_keys: Vec<KeySeed>,
    /// Any other documented field that `PATCH /clients/{id}` takes, for example
    /// `client_metadata`, `jwt_configuration` or `client_authentication_methods`.
    #[serde(default)]
    pub fields: Fields,
}

impl ClientSeed {
    /// A client with this id and nothing else chosen.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self { client_id: client_id.into(), ..Self::default() }
    }

    /// Sets the secret.
    #[must_use]
    pub fn secret(mut self, value: impl Into<SecretString>) -> Self {
        self.client_secret = Some(value.into());
        self
    }

    /// Grants scopes for the Management API.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Grants scopes for another audience; an empty list is a grant without scopes.
    #[must_use]
    pub fn grant<S: Into<String>>(
        mut self,
        audience: impl Into<String>,
        scopes: impl IntoIterator<Item = S>,
    ) -> Self {
        let scopes = scopes.into_iter().map(Into::into).collect();
        self.grants.insert(audience.into(), scopes);
        self
    }

    /// Registers a public key, in PEM, for assertions that are signed with this algorithm.
    #[must_use]
    pub fn public_key(mut self, pem: impl Into<String>, algorithm: KeyAlgorithm) -> Self {
        self.public_keys.push(KeySeed { pem: pem.into(), algorithm, kid: None });
        self
    }

    /// Sets a documented field, for example `("client_metadata", json!({"team": "shop"}))`.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }
}

/// A client as the tenant holds it. `fields` has everything but id and secret.
pub(crate) struct Client {
    pub(crate) fields: Fields,
    pub(crate) credential: Credential,
    pub(crate) keys: Vec<PublicKey>,
    /// By audience.
    pub(crate) grants: BTreeMap<String, Scopes>,
}

impl Client {
    /// Checks a seed and makes the client; its id is returned beside it.
    pub(crate) fn from_seed(
        seed: ClientSeed,
        management_audience: &str,
        now: SystemTime,
    ) -> Result<(String, Self), SeedError> {
        let id = if seed.client_id.is_empty() { secret::new_client_id() } else { seed.client_id };
        if id.len() > LONGEST_ID {
            return Err(SeedError::BadId(id.len()));
        }
        let value = seed.client_secret.unwrap_or_else(secret::new_client_secret);
        if value.expose_secret().is_empty() {
            return Err(SeedError::EmptySecret);
        }
        let mut fields = seed.fields;
        if fields.contains_key("client_secret") {
            let hint = "give client_secret beside `fields`, not inside";
            return Err(SeedError::BadField(hint.into()));
        }
        let keys: Vec<_> =
            seed.public_keys.into_iter().map(PublicKey::from_seed).collect::<Result<_, _>>()?;
        if !keys.is_empty() {
            let named = |key: &PublicKey| json!({ "id": key.credential_id() });
            let named: Vec<_> = keys.iter().map(named).collect();
            let methods = json!({ "private_key_jwt": { "credentials": named } });
            if fields.insert("client_authentication_methods".into(), methods).is_some() {
                let hint = "give public_keys or client_authentication_methods, not both";
                return Err(SeedError::BadField(hint.into()));
            }
        }
        fields.insert("name".into(), seed.name.unwrap_or_else(|| id.clone()).into());
        fields::check(&fields, Body::Update).map_err(SeedError::BadField)?;
        fields.entry("app_type").or_insert_with(|| "non_interactive".into());
        let mut grants: BTreeMap<String, Scopes> = seed
            .grants
            .into_iter()
            .map(|(audience, scopes)| (audience, scopes.into_iter().collect()))
            .collect();
        if !seed.scopes.is_empty() {
            grants.insert(management_audience.into(), seed.scopes.into_iter().collect());
        }
        let credential = Credential::new(value, now);
        Ok((id, Self { fields: with_defaults(fields), credential, keys, grants }))
    }

    /// A client made by `POST /clients` with a checked body.
    pub(crate) fn created(body: Fields, now: SystemTime) -> Self {
        let mut fields = Fields::new();
        // Can't fail: a checked body has bounded metadata and there is nothing to merge with.
        let _ = fields::apply(&mut fields, body);
        Self {
            fields: with_defaults(fields),
            credential: Credential::new(secret::new_client_secret(), now),
            keys: Vec::new(),
            grants: BTreeMap::new(),
        }
    }

    /// `client_authentication_methods` is set: the client proves itself by key or certificate.
    pub(crate) fn has_authentication_methods(&self) -> bool {
        self.fields.contains_key("client_authentication_methods")
    }

    pub(crate) fn is_public(&self) -> bool {
        self.fields.get("token_endpoint_auth_method").is_some_and(|method| method == "none")
    }

    pub(crate) fn allows_grant_type(&self, grant_type: &str) -> bool {
        let types = self.fields.get("grant_types").and_then(Value::as_array);
        types.is_some_and(|types| types.iter().any(|known| known == grant_type))
    }

    /// The client as the Management API answers it to somebody who may see this much.
    pub(crate) fn view(&self, id: &str, tenant: &str, sight: Sight) -> Fields {
        let mut view = self.fields.clone();
        view.insert("client_id".into(), id.into());
        view.insert("tenant".into(), tenant.into());
        view.insert("global".into(), false.into());
        // Clients with client_authentication_methods carry no secret, public ones do.
        if !self.has_authentication_methods() {
            view.insert("client_secret".into(), self.credential.current().expose_secret().into());
        }
        view.retain(|name, _| sight.shows(name));
        view
    }
}

/// What Auth0 fills in (Management API, "Create a client", and what its answers show).
fn with_defaults(mut fields: Fields) -> Fields {
    let app_type = fields.get("app_type").and_then(Value::as_str).unwrap_or("regular_web");
    let public = matches!(app_type, "spa" | "native");
    let grant_types = match app_type {
        "non_interactive" => json!(["client_credentials"]),
        _ if public => json!(["authorization_code", "implicit", "refresh_token"]),
        _ => json!(["authorization_code", "implicit", "refresh_token", "client_credentials"]),
    };
    let defaults = [
        ("callbacks", json!([])),
        ("cross_origin_authentication", json!(false)),
        ("custom_login_page_on", json!(true)),
        ("grant_types", grant_types),
        ("is_first_party", json!(true)),
        (
            "jwt_configuration",
            json!({"alg": "RS256", "lifetime_in_seconds": 36_000, "secret_encoded": false}),
        ),
        ("oidc_conformant", json!(true)),
        ("sso_disabled", json!(false)),
    ];
    if !fields.contains_key("client_authentication_methods") {
        let method = if public { "none" } else { "client_secret_post" };
        fields.entry("token_endpoint_auth_method").or_insert_with(|| method.into());
    }
    for (name, value) in defaults {
        fields.entry(name).or_insert(value);
    }
    fields
}

/// Which fields an answer may show ("Get client by ID" in the Management API reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Everything but the basic fields and the keys.
    settings: bool,
    /// `client_authentication_methods`, `encryption_key`, `signing_key`.
    keys: bool,
    secret: bool,
}

impl Sight {
    /// The admin interface.
    pub(crate) const ALL: Self = Self { settings: true, keys: true, secret: true };

    /// A read with these scopes.
    pub(crate) fn of_read(scopes: &Scopes) -> Self {
        let has = |scope| scopes.contains(scope);
        let keys = has("read:client_keys") || has("read:client_credentials");
        Self { settings: has("read:clients") || has("read:client_keys"), keys, secret: keys }
    }

    /// The answer to a write: the whole client, the secret if `secret` or if a read would show it.
    pub(crate) fn of_write(scopes: &Scopes, secret: bool) -> Self {
        let read = Self::of_read(scopes);
        Self { settings: true, keys: read.keys, secret: secret || read.secret }
    }

    fn shows(self, field: &str) -> bool {
        match field {
            "client_id" | "app_type" | "name" | "description" => true,
            "client_secret" => self.secret,
            "client_authentication_methods" | "encryption_key" | "signing_key" => self.keys,
            _ => self.settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(scopes: &[&str]) -> Sight {
        Sight::of_read(&scopes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_read_shows_what_its_scopes_allow() {
        for (scopes, basic, settings, keys) in [
            (&["read:client_summary"][..], true, false, false),
            (&["read:clients"], true, true, false),
            (&["read:client_credentials"], true, false, true),
            (&["read:client_keys"], true, true, true),
        ] {
            let sight = sight(scopes);
            assert_eq!(sight.shows("name"), basic, "{scopes:?}");
            assert_eq!(sight.shows("client_metadata"), settings, "{scopes:?}");
            assert_eq!(sight.shows("client_secret"), keys, "{scopes:?}");
            assert_eq!(sight.shows("client_authentication_methods"), keys, "{scopes:?}");
        }
    }

    #[test]
    fn a_seed_doesnt_print_its_secret() {
        let seed = ClientSeed::new("a").secret("hush-hush");
        assert!(!format!("{seed:?}").contains("hush"));
    }

    #[test]
    fn seeds_are_checked() {
        let make = |seed| Client::from_seed(seed, "https://t/api/v2/", SystemTime::UNIX_EPOCH);
        assert_eq!(make(ClientSeed::new("a").secret("")).map(|_| ()), Err(SeedError::EmptySecret));
        assert_eq!(make(ClientSeed::new("a".repeat(257))).map(|_| ()), Err(SeedError::BadId(257)));
        for seed in [
            ClientSeed::new("a").field("colour", "red"),
            ClientSeed::new("a").field("client_secret", "x"),
        ] {
            assert!(matches!(make(seed), Err(SeedError::BadField(_))));
        }
        let (id, client) = make(ClientSeed::default()).unwrap();
        assert_eq!(id.len(), 32);
        assert!(client.allows_grant_type("client_credentials"));
        assert!(!client.is_public());
    }

    #[test]
    fn a_public_client_still_carries_a_secret_and_one_with_methods_none() {
        let epoch = SystemTime::UNIX_EPOCH;
        let public = ClientSeed::new("a").field("app_type", "spa");
        let (_, public) = Client::from_seed(public, "aud", epoch).unwrap();
        let view = public.view("a", "acme", Sight::ALL);
        assert!(public.is_public() && view.contains_key("client_secret"));

        let keyed = ClientSeed::new("b")
            .field("client_authentication_methods", json!({"private_key_jwt": {}}));
        let (_, keyed) = Client::from_seed(keyed, "aud", epoch).unwrap();
        let view = keyed.view("b", "acme", Sight::ALL);
        assert!(!view.contains_key("client_secret"));
        assert!(!view.contains_key("token_endpoint_auth_method"));
    }
}
