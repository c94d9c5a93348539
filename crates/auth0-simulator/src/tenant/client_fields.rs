//! Documented top-level fields of a client: validation and application of request bodies.
//!
//! Names, types and nullability are those of `UpdateClientRequestContent` and
//! `CreateClientRequestContent` in Auth0's OpenAPI document of the Management API. Both have
//! `additionalProperties: false`.

use JsonType::{Array, Boolean, Integer, Object, Text};
use Support::{No, Nullable, Yes};
use serde_json::{Map, Value};

/// A client's fields as JSON.
pub(crate) type Fields = Map<String, Value>;

/// JSON type of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum JsonType {
    Text,
    Boolean,
    Integer,
    Array,
    Object,
}

/// Whether a body can contain the field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Support {
    No,
    Yes,
    /// Yes, and the value can be null.
    Nullable,
}

struct Field {
    name: &'static str,
    json_type: JsonType,
    update: Support,
    create: Support,
}

const fn field(name: &'static str, json_type: JsonType, update: Support, create: Support) -> Field {
    Field { name, json_type, update, create }
}

/// All fields in alphabetical order.
const FIELDS: &[Field] = &[
    field("addons", Object, Yes, Yes),
    field("allowed_clients", Array, Yes, Yes),
    field("allowed_logout_urls", Array, Yes, Yes),
    field("allowed_origins", Array, Yes, Yes),
    field("app_type", Text, Yes, Yes),
    field("async_approval_notification_channels", Array, Nullable, Yes),
    field("callbacks", Array, Yes, Yes),
    field("client_aliases", Array, Yes, Yes),
    field("client_authentication_methods", Object, Nullable, Yes),
    field("client_metadata", Object, Yes, Yes),
    field("client_secret", Text, Yes, No),
    field("compliance_level", Text, Nullable, Nullable),
    field("cross_origin_authentication", Boolean, Yes, Yes),
    field("cross_origin_loc", Text, Nullable, Yes),
    field("custom_login_page", Text, Yes, Yes),
    field("custom_login_page_on", Boolean, Yes, Yes),
    field("custom_login_page_preview", Text, Yes, Yes),
    field("default_organization", Object, Nullable, Nullable),
    field("description", Text, Yes, Yes),
    field("encryption_key", Object, Nullable, Nullable),
    field("express_configuration", Object, Nullable, Yes),
    field("fedcm_login", Object, Nullable, Yes),
    field("form_template", Text, Yes, Yes),
    field("grant_types", Array, Yes, Yes),
    field("initiate_login_uri", Text, Yes, Yes),
    field("is_first_party", Boolean, Yes, Yes),
    field("is_token_endpoint_ip_header_trusted", Boolean, Yes, Yes),
    field("jwt_configuration", Object, Yes, Yes),
    field("logo_uri", Text, Yes, Yes),
    field("mobile", Object, Yes, Yes),
    field("my_organization_configuration", Object, Nullable, Yes),
    field("name", Text, Yes, Yes),
    field("native_social_login", Object, Nullable, Yes),
    field("oidc_backchannel_logout", Object, Yes, Yes),
    field("oidc_conformant", Boolean, Yes, Yes),
    field("oidc_logout", Object, Yes, Yes),
    field("organization_discovery_methods", Array, Nullable, Yes),
    field("organization_require_behavior", Text, Nullable, Yes),
    field("organization_usage", Text, Nullable, Yes),
    field("par_request_expiry", Integer, Nullable, Nullable),
    field("redirection_policy", Text, Yes, Yes),
    field("refresh_token", Object, Nullable, Nullable),
    field("require_proof_of_possession", Boolean, Yes, Yes),
    field("require_pushed_authorization_requests", Boolean, Yes, Yes),
    field("resource_server_identifier", Text, No, Yes),
    field("session_transfer", Object, Nullable, Nullable),
    field("signed_request_object", Object, Yes, Yes),
    field("skip_non_verifiable_callback_uri_confirmation_prompt", Boolean, Nullable, Yes),
    field("sso", Boolean, Yes, Yes),
    field("sso_disabled", Boolean, Yes, Yes),
    field("third_party_security_mode", Text, Yes, Yes),
    field("token_endpoint_auth_method", Text, Nullable, Yes),
    field("token_exchange", Object, Nullable, Yes),
    field("token_quota", Object, Nullable, Yes),
    field("token_vault_privileged_access", Object, Yes, Yes),
    field("web_origins", Array, Yes, Yes),
];

/// Fields that responses contain and that no request can set. Auth0 sets them when it creates the
/// client: for the global client, and for one from a Client ID Metadata Document.
const READ_ONLY_FIELDS: &[(&str, JsonType)] =
    &[("global", Boolean), ("external_client_id", Text), ("external_metadata_type", Text)];

const APP_TYPES: &[&str] = &[
    "native",
    "spa",
    "regular_web",
    "non_interactive",
    "resource_server",
    "express_configuration",
    "rms",
    "box",
    "cloudbees",
    "concur",
    "dropbox",
    "mscrm",
    "echosign",
    "egnyte",
    "newrelic",
    "office365",
    "salesforce",
    "sentry",
    "sharepoint",
    "slack",
    "springcm",
    "zendesk",
    "zoom",
    "sso_integration",
    "oag",
];
const AUTH_METHODS: &[&str] = &["none", "client_secret_post", "client_secret_basic"];
const ALGORITHMS: &[&str] = &["HS256", "RS256", "RS512", "PS256"];
const AUTHENTICATION_METHODS: &[&str] =
    &["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"];
const MAX_METADATA_PROPERTIES: usize = 10;
const MAX_METADATA_CHARACTERS: usize = 255;

/// Request that a body belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// `POST /clients`: requires `name` and doesn't accept `client_secret`.
    Create,
    /// `PATCH /clients/{id}`.
    Update,
}

fn violation(text: impl std::fmt::Display) -> String {
    format!("'{text}'")
}

fn violation_on(property: impl std::fmt::Display, text: impl std::fmt::Display) -> String {
    format!("'{text}' on property {property}")
}

/// Validates a body against the OpenAPI document. The error is the text that follows
/// "Payload validation error: ".
pub(crate) fn validate(body: &Fields, kind: BodyKind) -> Result<(), String> {
    if kind == BodyKind::Create && !body.contains_key("name") {
        return Err(violation("Missing required property: name"));
    }
    for (name, value) in body {
        let unknown = || violation(format_args!("Additional properties not allowed: {name}"));
        let field = FIELDS.iter().find(|field| field.name == name).ok_or_else(unknown)?;
        let support = match kind {
            BodyKind::Create => field.create,
            BodyKind::Update => field.update,
        };
        match support {
            No => return Err(unknown()),
            Nullable if value.is_null() => {}
            Nullable | Yes => {
                validate_type(name, field.json_type, value)?;
                validate_value(name, value, kind)?;
            }
        }
    }
    validate_combination(body)
}

/// Removes the fields that no request can set from those of a seed, and returns them.
pub(crate) fn take_read_only(fields: &mut Fields) -> Result<Fields, String> {
    let mut taken = Fields::new();
    for (name, json_type) in READ_ONLY_FIELDS {
        if let Some(value) = fields.remove(*name) {
            validate_type(name, *json_type, &value)?;
            taken.insert((*name).to_owned(), value);
        }
    }
    Ok(taken)
}

fn validate_type(name: &str, json_type: JsonType, value: &Value) -> Result<(), String> {
    let (is_valid, expected) = match json_type {
        Text => (value.is_string(), "string"),
        Boolean => (value.is_boolean(), "boolean"),
        Integer => (value.is_i64() || value.is_u64(), "integer"),
        Array => (value.is_array(), "array"),
        Object => (value.is_object(), "object"),
    };
    if is_valid {
        return Ok(());
    }
    let text = format!("Expected type {expected} but found type {}", json_type_name(value));
    Err(violation_on(name, text))
}

fn json_type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Validates the values of the fields that the simulator interprets.
fn validate_value(name: &str, value: &Value, kind: BodyKind) -> Result<(), String> {
    match name {
        "name" => validate_name(value),
        "client_secret" if value == "" => {
            Err(violation_on(name, "String is too short (0 chars), minimum 1"))
        }
        "app_type" => validate_enum(name, value, APP_TYPES),
        "token_endpoint_auth_method" => validate_enum(name, value, AUTH_METHODS),
        "grant_types" => validate_strings(name, value),
        "client_metadata" => validate_metadata(value, kind),
        "client_authentication_methods" => validate_authentication_methods(value),
        "jwt_configuration" => match value.get("alg") {
            Some(algorithm) => validate_enum("jwt_configuration.alg", algorithm, ALGORITHMS),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn validate_name(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    if name.is_empty() || name.contains(['<', '>']) {
        return Err(violation_on("name", "String does not match pattern ^[^<>]+$"));
    }
    Ok(())
}

fn validate_enum(name: &str, value: &Value, allowed: &[&str]) -> Result<(), String> {
    if value.as_str().is_some_and(|text| allowed.contains(&text)) {
        return Ok(());
    }
    Err(violation_on(name, format_args!("No enum match, one of: {}", allowed.join(", "))))
}

fn validate_strings(name: &str, value: &Value) -> Result<(), String> {
    if value.as_array().is_some_and(|items| items.iter().all(Value::is_string)) {
        return Ok(());
    }
    Err(violation_on(name, "Expected an array of strings"))
}

fn validate_metadata(value: &Value, kind: BodyKind) -> Result<(), String> {
    let properties = value.as_object().into_iter().flatten();
    let mut count = 0;
    for (key, value) in properties {
        count += 1;
        let is_valid = match value {
            Value::String(text) => text.chars().count() <= MAX_METADATA_CHARACTERS,
            // In an update, null removes a property.
            Value::Null => kind == BodyKind::Update,
            _ => false,
        };
        if !is_valid {
            return Err(violation_on(
                format_args!("client_metadata.{key}"),
                format_args!("Expected a string of at most {MAX_METADATA_CHARACTERS} characters"),
            ));
        }
    }
    if count > MAX_METADATA_PROPERTIES {
        return Err(violation_on(
            "client_metadata",
            format_args!("Too many properties ({count}), maximum {MAX_METADATA_PROPERTIES}"),
        ));
    }
    Ok(())
}

fn validate_authentication_methods(value: &Value) -> Result<(), String> {
    if let Value::Object(methods) = value
        && methods.len() == 1
        && methods.keys().all(|name| AUTHENTICATION_METHODS.contains(&name.as_str()))
    {
        return Ok(());
    }
    Err(violation_on(
        "client_authentication_methods",
        format_args!("Expected exactly one of: {}", AUTHENTICATION_METHODS.join(", ")),
    ))
}

fn validate_combination(body: &Fields) -> Result<(), String> {
    let is_set = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    if is_set("client_authentication_methods") && is_set("token_endpoint_auth_method") {
        return Err(violation(
            "client_authentication_methods and token_endpoint_auth_method are mutually exclusive",
        ));
    }
    Ok(())
}

/// Applies a validated body: `null` removes a field, `client_metadata` is merged by property
/// ("Application metadata" in Auth0's documentation), and any other field is replaced.
pub(crate) fn apply(fields: &mut Fields, body: Fields) -> Result<(), String> {
    for (name, value) in body {
        if name == "client_metadata" {
            merge_metadata(fields, value)?;
        } else if value.is_null() {
            fields.remove(&name);
        } else {
            if name == "client_authentication_methods" {
                fields.remove("token_endpoint_auth_method");
            }
            if name == "token_endpoint_auth_method" {
                fields.remove("client_authentication_methods");
            }
            fields.insert(name, value);
        }
    }
    Ok(())
}

fn merge_metadata(fields: &mut Fields, change: Value) -> Result<(), String> {
    let Value::Object(change) = change else {
        return Ok(());
    };
    let mut merged = match fields.get("client_metadata") {
        Some(Value::Object(existing)) => existing.clone(),
        _ => Fields::new(),
    };
    merged.extend(change);
    merged.retain(|_, value| !value.is_null());
    let merged = Value::Object(merged);
    validate_metadata(&merged, BodyKind::Update)?;
    fields.insert("client_metadata".into(), merged);
    Ok(())
}

#[cfg(test)]
#[path = "client_fields_tests.rs"]
mod tests;
