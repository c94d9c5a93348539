//! The documented top-level fields of a client, and what a body may say about them.
//!
//! The names, types and who takes `null` are those of `UpdateClientRequestContent` and
//! `CreateClientRequestContent` in Auth0's OpenAPI document of the Management API; both have
//! `additionalProperties: false`.

use serde_json::{Map, Value};

use Kind::{Flag, Integer, List, Object, Text};
use Takes::{No, OrNull, Yes};

/// A client's fields as JSON.
pub(crate) type Fields = Map<String, Value>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Flag,
    Integer,
    List,
    Object,
}

/// Whether a body may hold the field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    No,
    Yes,
    OrNull,
}

struct Field {
    name: &'static str,
    kind: Kind,
    update: Takes,
    create: Takes,
}

const fn field(name: &'static str, kind: Kind, update: Takes, create: Takes) -> Field {
    Field { name, kind, update, create }
}

const FIELDS: &[Field] = &[
    field("addons", Object, Yes, Yes),
    field("allowed_clients", List, Yes, Yes),
    field("allowed_logout_urls", List, Yes, Yes),
    field("allowed_origins", List, Yes, Yes),
    field("app_type", Text, Yes, Yes),
    field("async_approval_notification_channels", List, OrNull, Yes),
    field("callbacks", List, Yes, Yes),
    field("client_aliases", List, Yes, Yes),
    field("client_authentication_methods", Object, OrNull, Yes),
    field("client_metadata", Object, Yes, Yes),
    field("client_secret", Text, Yes, No),
    field("compliance_level", Text, OrNull, OrNull),
    field("cross_origin_authentication", Flag, Yes, Yes),
    field("cross_origin_loc", Text, OrNull, Yes),
    field("custom_login_page", Text, Yes, Yes),
    field("custom_login_page_on", Flag, Yes, Yes),
    field("custom_login_page_preview", Text, Yes, Yes),
    field("default_organization", Object, OrNull, OrNull),
    field("description", Text, Yes, Yes),
    field("encryption_key", Object, OrNull, OrNull),
    field("express_configuration", Object, OrNull, Yes),
    field("fedcm_login", Object, OrNull, Yes),
    field("form_template", Text, Yes, Yes),
    field("grant_types", List, Yes, Yes),
    field("initiate_login_uri", Text, Yes, Yes),
    field("is_first_party", Flag, Yes, Yes),
    field("is_token_endpoint_ip_header_trusted", Flag, Yes, Yes),
    field("jwt_configuration", Object, Yes, Yes),
    field("logo_uri", Text, Yes, Yes),
    field("mobile", Object, Yes, Yes),
    field("my_organization_configuration", Object, OrNull, Yes),
    field("name", Text, Yes, Yes),
    field("native_social_login", Object, OrNull, Yes),
    field("oidc_backchannel_logout", Object, Yes, Yes),
    field("oidc_conformant", Flag, Yes, Yes),
    field("oidc_logout", Object, Yes, Yes),
    field("organization_discovery_methods", List, OrNull, Yes),
    field("organization_require_behavior", Text, OrNull, Yes),
    field("organization_usage", Text, OrNull, Yes),
    field("par_request_expiry", Integer, OrNull, OrNull),
    field("redirection_policy", Text, Yes, Yes),
    field("refresh_token", Object, OrNull, OrNull),
    field("require_proof_of_possession", Flag, Yes, Yes),
    field("require_pushed_authorization_requests", Flag, Yes, Yes),
    field("resource_server_identifier", Text, No, Yes),
    field("session_transfer", Object, OrNull, OrNull),
    field("signed_request_object", Object, Yes, Yes),
    field("skip_non_verifiable_callback_uri_confirmation_prompt", Flag, OrNull, Yes),
    field("sso", Flag, Yes, Yes),
    field("sso_disabled", Flag, Yes, Yes),
    field("third_party_security_mode", Text, Yes, Yes),
    field("token_endpoint_auth_method", Text, OrNull, Yes),
    field("token_exchange", Object, OrNull, Yes),
    field("token_quota", Object, OrNull, Yes),
    field("token_vault_privileged_access", Object, Yes, Yes),
    field("web_origins", List, Yes, Yes),
];

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
const METADATA_PROPERTIES: usize = 10;
const METADATA_CHARACTERS: usize = 255;

/// Which of the two bodies is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// `POST /clients`: a name is needed, `client_secret` isn't taken.
    Create,
    /// `PATCH /clients/{id}`.
    Update,
}

fn problem(text: impl std::fmt::Display) -> String {
    format!("'{text}'")
}

fn problem_on(property: impl std::fmt::Display, text: impl std::fmt::Display) -> String {
    format!("'{text}' on property {property}")
}

/// Checks a body against the document; an error is what follows "Payload validation error: ".
pub(crate) fn check(body: &Fields, which: Body) -> Result<(), String> {
    if which == Body::Create && !body.contains_key("name") {
        return Err(problem("Missing required property: name"));
    }
    for (name, value) in body {
        let found = FIELDS.iter().find(|field| field.name == name);
        let takes = found.map_or(No, |field| match which {
            Body::Create => field.create,
            Body::Update => field.update,
        });
        match (found, takes) {
            (None, _) | (_, No) => {
                return Err(problem(format_args!("Additional properties not allowed: {name}")));
            }
            (_, OrNull) if value.is_null() => {}
            (Some(field), _) => {
                check_kind(field, value)?;
                check_value(name, value, which)?;
            }
        }
    }
    check_together(body)
}

fn check_kind(field: &Field, value: &Value) -> Result<(), String> {
    let (fits, expected) = match field.kind {
        Text => (value.is_string(), "string"),
        Flag => (value.is_boolean(), "boolean"),
        Integer => (value.is_i64() || value.is_u64(), "integer"),
        List => (value.is_array(), "array"),
        Object => (value.is_object(), "object"),
    };
    if fits {
        return Ok(());
    }
    let text = format!("Expected type {expected} but found type {}", kind_of(value));
    Err(problem_on(field.name, text))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The fields that the simulator interprets.
fn check_value(name: &str, value: &Value, which: Body) -> Result<(), String> {
    match name {
        "name" => check_name(value),
        "client_secret" if value == "" => {
            Err(problem_on(name, "String is too short (0 chars), minimum 1"))
        }
        "app_type" => one_of(name, value, APP_TYPES),
        "token_endpoint_auth_method" => one_of(name, value, AUTH_METHODS),
        "grant_types" => strings(name, value),
        "client_metadata" => check_metadata(value, which),
        "client_authentication_methods" => check_authentication_methods(value),
        "jwt_configuration" => match value.get("alg") {
            Some(algorithm) => one_of("jwt_configuration.alg", algorithm, ALGORITHMS),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn check_name(value: &Value) -> Result<(), String> {
    let name = value.as_str().unwrap_or_default();
    if name.is_empty() || name.contains(['<', '>']) {
        return Err(problem_on("name", "String does not match pattern ^[^<>]+$"));
    }
    Ok(())
}

fn one_of(name: &str, value: &Value, allowed: &[&str]) -> Result<(), String> {
    if value.as_str().is_some_and(|text| allowed.contains(&text)) {
        return Ok(());
    }
    Err(problem_on(name, format_args!("No enum match, one of: {}", allowed.join(", "))))
}

fn strings(name: &str, value: &Value) -> Result<(), String> {
    if value.as_array().is_some_and(|items| items.iter().all(Value::is_string)) {
        return Ok(());
    }
    Err(problem_on(name, "Expected an array of strings"))
}

fn check_metadata(value: &Value, which: Body) -> Result<(), String> {
    let properties = value.as_object().into_iter().flatten();
    let mut count = 0;
    for (key, value) in properties {
        count += 1;
        // In an update, null takes a property away.
        let removed = value.is_null() && which == Body::Update;
        let text = value.as_str();
        if !removed && text.is_none_or(|text| text.chars().count() > METADATA_CHARACTERS) {
            return Err(problem_on(
                format_args!("client_metadata.{key}"),
                format_args!("Expected a string of at most {METADATA_CHARACTERS} characters"),
            ));
        }
    }
    if count > METADATA_PROPERTIES {
        return Err(problem_on(
            "client_metadata",
            format_args!("Too many properties ({count}), maximum {METADATA_PROPERTIES}"),
        ));
    }
    Ok(())
}

fn check_authentication_methods(value: &Value) -> Result<(), String> {
    let known = value.as_object().is_some_and(|methods| {
        methods.len() == 1
            && methods.keys().all(|name| AUTHENTICATION_METHODS.contains(&name.as_str()))
    });
    if known {
        return Ok(());
    }
    Err(problem_on(
        "client_authentication_methods",
        format_args!("Expected exactly one of: {}", AUTHENTICATION_METHODS.join(", ")),
    ))
}

fn check_together(body: &Fields) -> Result<(), String> {
    let set = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    if set("client_authentication_methods") && set("token_endpoint_auth_method") {
        return Err(problem(
            "client_authentication_methods and token_endpoint_auth_method are mutually exclusive",
        ));
    }
    Ok(())
}

/// Applies a checked body: `null` takes a field away, `client_metadata` is merged by property
/// ("Application metadata" in Auth0's documentation), everything else is replaced.
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
        Some(Value::Object(present)) => present.clone(),
        _ => Fields::new(),
    };
    merged.extend(change);
    merged.retain(|_, value| !value.is_null());
    let merged = Value::Object(merged);
    check_metadata(&merged, Body::Update)?;
    fields.insert("client_metadata".into(), merged);
    Ok(())
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
