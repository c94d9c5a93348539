//! One client (application): its fields, secret, keys and grants, and which of them are visible.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{
    client_assertion::{KeyAlgorithm, KeySeed, PublicKey},
    client_fields::{self, BodyKind, Fields},
};
use crate::{error::SeedError, propagation::PropagatingSecret, secret};

/// Scope names, sorted.
pub(crate) type Scopes = BTreeSet<String>;

const MAX_ID_LENGTH: usize = 256;

/// A client to add to the tenant, in the library, the admin interface or a clients file. Absent
/// fields are generated or default to those of a machine-to-machine application.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSeed {
    /// Client id, 1 to 256 characters. Generated if empty.
    #[serde(default)]
    pub client_id: String,
    /// Client secret. Generated (64 characters of `[A-Za-z0-9_-]`) if absent.
    #[serde(default)]
    pub client_secret: Option<SecretString>,
    /// Display name. Defaults to the id.
    #[serde(default)]
    pub name: Option<String>,
    /// Scopes granted for the Management API's audience. Without scopes, the client has no grant for
    /// it and gets no token.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Scopes granted for other audiences. An audience that is named here exists.
    #[serde(default)]
    pub grants: BTreeMap<String, Vec<String>>,
    /// Public keys for client assertions (private_key_jwt). A client with keys appears with
    /// `client_authentication_methods`, and authentication rejects its secret.
    #[serde(default)]
    pub public_keys: Vec<KeySeed>,
    /// Value that the Management API shows instead of the secret, until the secret changes: any JSON, or
    /// null to leave it out.
    #[serde(default, deserialize_with = "present")]
    pub shown_secret: Option<Value>,
    /// Any other documented field that `PATCH /clients/{id}` accepts, for example
    /// `client_metadata`, `jwt_configuration` or `client_authentication_methods`, and the read-only
    /// fields `global`, `external_client_id` and `external_metadata_type`.
    #[serde(default)]
    pub fields: Fields,
}

impl ClientSeed {
    /// Creates a seed with this id and default values.
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

    /// Grants scopes for another audience. An empty list creates a grant without scopes.
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

    /// Registers a public key in PEM for assertions signed with this algorithm.
    #[must_use]
    pub fn public_key(mut self, pem: impl Into<String>, algorithm: KeyAlgorithm) -> Self {
        self.public_keys.push(KeySeed { pem: pem.into(), algorithm, kid: None });
        self
    }

    /// Makes the Management API show this instead of the secret, until the secret changes. Null
    /// leaves it out.
    #[must_use]
    pub fn shown_secret(mut self, value: impl Into<Value>) -> Self {
        self.shown_secret = Some(value.into());
        self
    }

    /// Sets a documented field, for example `("client_metadata", json!({"team": "shop"}))`.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }
}

/// Keeps null apart from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// A client of the tenant. `fields` contains all fields except id and secret.
pub(crate) struct Client {
    pub(crate) fields: Fields,
    pub(crate) secret: PropagatingSecret,
    /// Value that the Management API shows instead of the secret.
    pub(crate) shown_secret: Option<Value>,
    pub(crate) keys: Vec<PublicKey>,
    /// Granted scopes by audience.
    pub(crate) grants: BTreeMap<String, Scopes>,
}

impl Client {
    /// Validates a seed and creates the client. Returns it with its id.
    pub(crate) fn from_seed(
        seed: ClientSeed,
        management_audience: &str,
        now: SystemTime,
    ) -> Result<(String, Self), SeedError> {
        let id = if seed.client_id.is_empty() { secret::new_client_id() } else { seed.client_id };
        if id.len() > MAX_ID_LENGTH {
            return Err(SeedError::BadId(id.len()));
        }
        let value = seed.client_secret.unwrap_or_else(secret::new_client_secret);
        if value.expose_secret().is_empty() {
            return Err(SeedError::EmptySecret);
        }
        let mut fields = seed.fields;
        if fields.contains_key("client_secret") {
            let hint =
                "client_secret must not be in `fields`: set the member client_secret instead";
            return Err(SeedError::BadField(hint.into()));
        }
        let keys: Vec<_> =
            seed.public_keys.into_iter().map(PublicKey::from_seed).collect::<Result<_, _>>()?;
        if !keys.is_empty() {
            let credentials: Vec<_> =
                keys.iter().map(|key| json!({ "id": key.credential_id() })).collect();
            let methods = json!({ "private_key_jwt": { "credentials": credentials } });
            if fields.insert("client_authentication_methods".into(), methods).is_some() {
                let hint = "public_keys and client_authentication_methods are mutually exclusive";
                return Err(SeedError::BadField(hint.into()));
            }
        }
        fields.insert("name".into(), seed.name.unwrap_or_else(|| id.clone()).into());
        let read_only = client_fields::take_read_only(&mut fields).map_err(SeedError::BadField)?;
        client_fields::validate(&fields, BodyKind::Update).map_err(SeedError::BadField)?;
        fields.extend(read_only);
        fields.entry("app_type").or_insert_with(|| "non_interactive".into());
        let mut grants: BTreeMap<String, Scopes> = seed
            .grants
            .into_iter()
            .map(|(audience, scopes)| (audience, scopes.into_iter().collect()))
            .collect();
        if !seed.scopes.is_empty() {
            grants.insert(management_audience.into(), seed.scopes.into_iter().collect());
        }
        let secret = PropagatingSecret::new(value, now);
        let shown_secret = seed.shown_secret;
        Ok((id, Self { fields: with_defaults(fields), secret, shown_secret, keys, grants }))
    }

    /// Creates a client from the validated body of `POST /clients`.
    pub(crate) fn created(body: Fields, now: SystemTime) -> Self {
        let mut fields = Fields::new();
        // Can't fail: a validated body has bounded metadata, and there is no metadata to merge with.
        let _ = client_fields::apply(&mut fields, body);
        Self {
            fields: with_defaults(fields),
            secret: PropagatingSecret::new(secret::new_client_secret(), now),
            shown_secret: None,
            keys: Vec::new(),
            grants: BTreeMap::new(),
        }
    }

    /// Returns whether the client authenticates with a key or certificate, which it does if
    /// `client_authentication_methods` is set.
    pub(crate) fn has_authentication_methods(&self) -> bool {
        self.fields.contains_key("client_authentication_methods")
    }

    pub(crate) fn is_public(&self) -> bool {
        match self.fields.get("token_endpoint_auth_method") {
            Some(method) => method == "none",
            None => false,
        }
    }

    pub(crate) fn is_regular_web(&self) -> bool {
        self.fields.get("app_type").is_some_and(|app_type| app_type == "regular_web")
    }

    /// Returns whether the client may not use the secret that the Management API shows: it comes from
    /// a Client ID Metadata Document.
    pub(crate) fn is_from_metadata_document(&self) -> bool {
        self.fields.get("external_metadata_type").is_some_and(|type_| type_ == "cimd")
    }

    /// Returns whether Auth0 lets no request choose the secret.
    pub(crate) fn is_strict_third_party(&self) -> bool {
        self.fields.get("third_party_security_mode").is_some_and(|mode| mode == "strict")
    }

    pub(crate) fn allows_grant_type(&self, grant_type: &str) -> bool {
        match self.fields.get("grant_types") {
            Some(Value::Array(allowed)) => allowed.iter().any(|allowed| allowed == grant_type),
            _ => false,
        }
    }

    /// Returns the client in the format of the Management API, limited to the visible fields.
    pub(crate) fn view(&self, id: &str, tenant_name: &str, visibility: Visibility) -> Fields {
        let mut view = self.fields.clone();
        view.insert("client_id".into(), id.into());
        view.insert("tenant".into(), tenant_name.into());
        view.entry("global").or_insert_with(|| false.into());
        // A client with client_authentication_methods has no secret, but a public client has one.
        if !self.has_authentication_methods() {
            match &self.shown_secret {
                None => {
                    let value = self.secret.current().expose_secret();
                    view.insert("client_secret".into(), value.into());
                }
                Some(Value::Null) => {}
                Some(other) => {
                    view.insert("client_secret".into(), other.clone());
                }
            }
        }
        view.retain(|name, _| visibility.shows(name));
        view
    }
}

/// Adds the default values of Auth0 (Management API, "Create a client", and its responses).
fn with_defaults(mut fields: Fields) -> Fields {
    let app_type = fields.get("app_type").and_then(Value::as_str).unwrap_or("regular_web");
    let is_public = matches!(app_type, "spa" | "native");
    let grant_types = match app_type {
        "non_interactive" => json!(["client_credentials"]),
        _ if is_public => json!(["authorization_code", "implicit", "refresh_token"]),
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
        let method = if is_public { "none" } else { "client_secret_post" };
        fields.entry("token_endpoint_auth_method").or_insert_with(|| method.into());
    }
    for (name, value) in defaults {
        fields.entry(name).or_insert(value);
    }
    fields
}

/// Fields that a response can contain ("Get client by ID" in the Management API reference).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visibility {
    /// Whether fields other than the basic fields, the keys and the secret are visible.
    settings: bool,
    /// Whether `client_authentication_methods`, `encryption_key` and `signing_key` are visible.
    keys: bool,
    /// Whether `client_secret` is visible.
    secret: bool,
}

impl Visibility {
    /// Visibility in the admin interface.
    pub(crate) const ALL: Self = Self { settings: true, keys: true, secret: true };

    /// Returns the visibility for a read with these scopes.
    pub(crate) fn for_read(scopes: &Scopes) -> Self {
        let has = |scope| scopes.contains(scope);
        let keys = has("read:client_keys") || has("read:client_credentials");
        Self { settings: has("read:clients") || has("read:client_keys"), keys, secret: keys }
    }

    /// Returns the visibility in the response to a write. The secret is visible if
    /// `includes_secret` is set or if a read would show it.
    pub(crate) fn for_write(scopes: &Scopes, includes_secret: bool) -> Self {
        let read = Self::for_read(scopes);
        Self { settings: true, keys: read.keys, secret: includes_secret || read.secret }
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

    fn visibility(scopes: &[&str]) -> Visibility {
        Visibility::for_read(&scopes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn read_shows_the_fields_that_its_scopes_allow() {
        for (scopes, basic, settings, keys) in [
            (&["read:client_summary"][..], true, false, false),
            (&["read:clients"], true, true, false),
            (&["read:client_credentials"], true, false, true),
            (&["read:client_keys"], true, true, true),
        ] {
            let visibility = visibility(scopes);
            assert_eq!(visibility.shows("name"), basic, "{scopes:?}");
            assert_eq!(visibility.shows("client_metadata"), settings, "{scopes:?}");
            assert_eq!(visibility.shows("client_secret"), keys, "{scopes:?}");
            assert_eq!(visibility.shows("client_authentication_methods"), keys, "{scopes:?}");
        }
    }

    #[test]
    fn seed_debug_output_redacts_the_secret() {
        let seed = ClientSeed::new("a").secret("hush-hush");
        assert!(!format!("{seed:?}").contains("hush"));
    }

    #[test]
    fn validates_seeds() {
        let from_seed = |seed| Client::from_seed(seed, "https://t/api/v2/", SystemTime::UNIX_EPOCH);
        assert_eq!(
            from_seed(ClientSeed::new("a").secret("")).map(|_| ()),
            Err(SeedError::EmptySecret)
        );
        assert_eq!(
            from_seed(ClientSeed::new("a".repeat(257))).map(|_| ()),
            Err(SeedError::BadId(257))
        );
        for seed in [
            ClientSeed::new("a").field("color", "red"),
            ClientSeed::new("a").field("client_secret", "x"),
        ] {
            assert!(matches!(from_seed(seed), Err(SeedError::BadField(_))));
        }
        let (id, client) = from_seed(ClientSeed::default()).unwrap();
        assert_eq!(id.len(), 32);
        assert!(client.allows_grant_type("client_credentials"));
        assert!(!client.is_public());
    }

    #[test]
    fn public_client_has_a_secret_but_client_with_keys_has_none() {
        let epoch = SystemTime::UNIX_EPOCH;
        let public = ClientSeed::new("a").field("app_type", "spa");
        let (_, public) = Client::from_seed(public, "aud", epoch).unwrap();
        let view = public.view("a", "acme", Visibility::ALL);
        assert!(public.is_public() && view.contains_key("client_secret"));

        let keyed = ClientSeed::new("b")
            .field("client_authentication_methods", json!({"private_key_jwt": {}}));
        let (_, keyed) = Client::from_seed(keyed, "aud", epoch).unwrap();
        let view = keyed.view("b", "acme", Visibility::ALL);
        assert!(!view.contains_key("client_secret"));
        assert!(!view.contains_key("token_endpoint_auth_method"));
    }
}
