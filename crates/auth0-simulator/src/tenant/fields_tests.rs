use serde_json::json;

use super::*;

fn fields(value: Value) -> Fields {
    let Value::Object(fields) = value else { panic!("not an object: {value}") };
    fields
}

fn update(value: Value) -> Result<(), String> {
    check(&fields(value), Body::Update)
}

#[test]
fn the_table_is_sorted_and_without_repeats() {
    assert!(FIELDS.is_sorted_by(|a, b| a.name < b.name));
}

#[test]
fn unknown_fields_are_refused_by_name() {
    assert_eq!(
        update(json!({"name": "x", "colour": "red"})),
        Err("'Additional properties not allowed: colour'".into())
    );
    // Answers have it, bodies don't take it.
    assert!(update(json!({"client_id": "x"})).is_err());
}

#[test]
fn a_secret_can_be_updated_but_not_chosen_at_creation() {
    assert_eq!(update(json!({"client_secret": "x"})), Ok(()));
    let error = update(json!({"client_secret": ""})).unwrap_err();
    assert!(error.contains("minimum 1"), "{error}");
    let body = fields(json!({"name": "x", "client_secret": "y"}));
    assert!(check(&body, Body::Create).unwrap_err().contains("client_secret"));
}

#[test]
fn types_are_checked_and_named() {
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
fn null_is_taken_where_the_document_says_so() {
    assert_eq!(update(json!({"encryption_key": null, "refresh_token": null})), Ok(()));
    assert_eq!(update(json!({"token_endpoint_auth_method": null})), Ok(()));
    let body = fields(json!({"name": "x", "token_endpoint_auth_method": null}));
    assert!(check(&body, Body::Create).is_err());
}

#[test]
fn creation_needs_a_name() {
    let error = check(&fields(json!({"app_type": "spa"})), Body::Create).unwrap_err();
    assert!(error.contains("Missing required property: name"), "{error}");
}

#[test]
fn metadata_is_merged_bounded_and_taken_away_by_null() {
    let mut present = fields(json!({"client_metadata": {"a": "1", "b": "2"}}));
    apply(&mut present, fields(json!({"client_metadata": {"b": null, "c": "3"}}))).unwrap();
    assert_eq!(Value::Object(present.clone()), json!({"client_metadata": {"a": "1", "c": "3"}}));

    let nine_more: Fields = (0..9).map(|n| (format!("k{n}"), "v".into())).collect();
    let error = apply(&mut present, fields(json!({"client_metadata": nine_more}))).unwrap_err();
    assert!(error.contains("maximum 10"), "{error}");
    assert!(update(json!({"client_metadata": {"a": "x".repeat(256)}})).is_err());
}

#[test]
fn the_two_ways_to_authenticate_exclude_each_other() {
    let error = update(json!({
        "client_authentication_methods": {"private_key_jwt": {"credentials": []}},
        "token_endpoint_auth_method": "none",
    }));
    assert!(error.unwrap_err().contains("mutually exclusive"));

    let mut present = fields(json!({"token_endpoint_auth_method": "client_secret_post"}));
    let methods = json!({"client_authentication_methods": {"private_key_jwt": {}}});
    apply(&mut present, fields(methods.clone())).unwrap();
    assert_eq!(Value::Object(present.clone()), methods);
    let back = json!({"token_endpoint_auth_method": "client_secret_basic"});
    apply(&mut present, fields(back.clone())).unwrap();
    assert_eq!(Value::Object(present), back);
}
