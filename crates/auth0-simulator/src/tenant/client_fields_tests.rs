use serde_json::json;

use super::*;

fn fields(value: Value) -> Fields {
    let Value::Object(fields) = value else { panic!("not an object: {value}") };
    fields
}

fn update(value: Value) -> Result<(), String> {
    validate(&fields(value), BodyKind::Update)
}

#[test]
fn field_table_is_sorted_and_has_no_duplicates() {
    assert!(FIELDS.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn rejects_unknown_fields_by_name() {
    assert_eq!(
        update(json!({"name": "x", "color": "red"})),
        Err("'Additional properties not allowed: color'".into())
    );
    // Responses contain it, but bodies must not.
    assert!(update(json!({"client_id": "x"})).is_err());
}

#[test]
fn accepts_a_secret_in_updates_but_not_in_creation() {
    assert_eq!(update(json!({"client_secret": "x"})), Ok(()));
    let error = update(json!({"client_secret": ""})).unwrap_err();
    assert!(error.contains("minimum 1"), "{error}");
    let body = fields(json!({"name": "x", "client_secret": "y"}));
    assert!(validate(&body, BodyKind::Create).unwrap_err().contains("client_secret"));
}

#[test]
fn type_errors_name_the_property() {
    for (body, property) in [
        (json!({"name": 1}), "name"),
        (json!({"name": "a<b"}), "name"),
        (json!({"name": null}), "name"),
        (json!({"callbacks": "https://x"}), "callbacks"),
        (json!({"oidc_conformant": "true"}), "oidc_conformant"),
        (json!({"par_request_expiry": 1.5}), "par_request_expiry"),
        (json!({"app_type": "robot"}), "app_type"),
        (json!({"grant_types": [1]}), "grant_types"),
        (json!({"token_endpoint_auth_method": "basic"}), "token_endpoint_auth_method"),
        (json!({"jwt_configuration": {"alg": "none"}}), "jwt_configuration.alg"),
        (json!({"client_metadata": {"a": 1}}), "client_metadata.a"),
        (json!({"client_authentication_methods": {}}), "client_authentication_methods"),
    ] {
        let error = update(body.clone()).unwrap_err();
        assert!(error.ends_with(property), "{body}: {error}");
    }
}

#[test]
fn accepts_null_for_nullable_fields() {
    assert_eq!(update(json!({"encryption_key": null, "refresh_token": null})), Ok(()));
    assert_eq!(update(json!({"token_endpoint_auth_method": null})), Ok(()));
    let body = fields(json!({"name": "x", "token_endpoint_auth_method": null}));
    assert!(validate(&body, BodyKind::Create).is_err());
}

#[test]
fn creation_requires_a_name() {
    let error = validate(&fields(json!({"app_type": "spa"})), BodyKind::Create).unwrap_err();
    assert!(error.contains("Missing required property: name"), "{error}");
}

#[test]
fn merges_and_bounds_metadata_and_removes_null_properties() {
    let mut existing = fields(json!({"client_metadata": {"a": "1", "b": "2"}}));
    apply(&mut existing, fields(json!({"client_metadata": {"b": null, "c": "3"}}))).unwrap();
    assert_eq!(Value::Object(existing.clone()), json!({"client_metadata": {"a": "1", "c": "3"}}));

    let nine_more: Fields = (0..9).map(|n| (format!("k{n}"), "v".into())).collect();
    let error = apply(&mut existing, fields(json!({"client_metadata": nine_more}))).unwrap_err();
    assert!(error.contains("maximum 10"), "{error}");
    assert!(update(json!({"client_metadata": {"a": "x".repeat(256)}})).is_err());
}

#[test]
fn authentication_methods_are_mutually_exclusive() {
    let error = update(json!({
        "client_authentication_methods": {"private_key_jwt": {"credentials": []}},
        "token_endpoint_auth_method": "none",
    }));
    assert!(error.unwrap_err().contains("mutually exclusive"));

    let mut existing = fields(json!({"token_endpoint_auth_method": "client_secret_post"}));
    let methods = json!({"client_authentication_methods": {"private_key_jwt": {}}});
    apply(&mut existing, fields(methods.clone())).unwrap();
    assert_eq!(Value::Object(existing.clone()), methods);
    let back = json!({"token_endpoint_auth_method": "client_secret_basic"});
    apply(&mut existing, fields(back.clone())).unwrap();
    assert_eq!(Value::Object(existing), back);
}
