//! The Management API's clients: what is answered, to whom, and what is refused.

use auth0_simulator::ClientSeed;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{APP, APP_SECRET, MANAGER, Tenant, immediate, key_methods, names};

#[tokio::test]
async fn rotate_secret_answers_the_whole_client_with_its_new_secret() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let answer = tenant.rotate(&token, APP).await;
    assert_eq!(answer.status, 200);
    let value = answer.body["client_secret"].as_str().unwrap();
    assert_eq!(value.len(), 64);
    assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{value}");
    assert_eq!(answer.body["client_id"], APP);
    assert_eq!(answer.body["grant_types"], json!(["client_credentials"]));
    assert_eq!(answer.body["tenant"], "acme");
    assert_eq!(tenant.current(APP), value);
    assert_eq!(tenant.revoke(APP, value).await.status, 200);
    assert_eq!(tenant.revoke(APP, APP_SECRET).await.status, 401);
}

#[tokio::test]
async fn each_rotation_makes_another_secret() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let first = tenant.rotate(&token, APP).await.body["client_secret"].clone();
    let second = tenant.rotate(&token, APP).await.body["client_secret"].clone();
    assert_ne!(first, second);
    assert_eq!(tenant.simulator.counters().client(APP).effects.rotations, 2);
}

#[tokio::test]
async fn whether_rotate_shows_the_secret_to_who_cant_read_it_is_a_switch() {
    for shows in [true, false] {
        let tenant = Tenant::start(immediate().rotate_shows_secret(shows)).await;
        let token = tenant.token_with(&["update:client_keys"]).await;
        let answer = tenant.rotate(&token, APP).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body.get("client_secret").is_some(), shows);
        assert_ne!(tenant.current(APP), APP_SECRET, "it rotates either way");
    }
}

#[tokio::test]
async fn clients_that_authenticate_by_key_have_no_secret_to_rotate() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let keyed = ClientSeed::new("keyed").field("client_authentication_methods", key_methods());
    tenant.simulator.add_client(keyed).unwrap();
    let before = tenant.current("keyed");
    assert_eq!(tenant.rotate(&token, "keyed").await.status, 400);
    assert_eq!(tenant.patch(&token, "keyed", json!({"client_secret": "x"})).await.status, 400);
    assert_eq!(tenant.current("keyed"), before);
    let answer = tenant.get(&token, "/clients/keyed").await;
    assert!(answer.body.get("client_secret").is_none());
    assert!(answer.body.get("token_endpoint_auth_method").is_none());
    assert_eq!(answer.body["client_authentication_methods"], key_methods());
}

#[tokio::test]
async fn public_clients_still_carry_a_secret() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let public = ClientSeed::new("spa").field("token_endpoint_auth_method", "none");
    tenant.simulator.add_client(public).unwrap();
    let answer = tenant.get(&token, "/clients/spa").await;
    assert_eq!(answer.body["token_endpoint_auth_method"], "none");
    assert!(answer.body["client_secret"].is_string());
}

#[tokio::test]
async fn a_get_shows_what_the_scopes_allow() {
    let tenant = Tenant::start(immediate()).await;
    for (scopes, shows_settings, shows_secret) in [
        (&["read:client_summary"][..], false, false),
        (&["read:clients"], true, false),
        (&["read:client_credentials"], false, true),
        (&["read:client_keys"], true, true),
    ] {
        let token = tenant.token_with(scopes).await;
        let answer = tenant.get(&token, &format!("/clients/{APP}")).await;
        assert_eq!(answer.status, 200, "{scopes:?}");
        assert_eq!(answer.body["name"], APP);
        assert_eq!(answer.body.get("callbacks").is_some(), shows_settings, "{scopes:?}");
        assert_eq!(answer.body.get("client_secret").is_some(), shows_secret, "{scopes:?}");
        let list = tenant.get(&token, "/clients").await;
        let listed = list.body.as_array().unwrap().iter().find(|it| it["client_id"] == APP);
        assert_eq!(listed.unwrap().get("client_secret").is_some(), shows_secret, "{scopes:?}");
    }
}

#[tokio::test]
async fn fields_are_chosen_as_asked() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let path = format!("/clients/{APP}?fields=client_id,client_secret&include_fields=true");
    let answer = tenant.get(&token, &path).await;
    assert_eq!(answer.body, json!({"client_id": APP, "client_secret": APP_SECRET}));
    let path = format!("/clients/{APP}?fields=client_secret&include_fields=false");
    let answer = tenant.get(&token, &path).await;
    assert!(!names(&answer.body).contains(&"client_secret"));
    let answer = tenant.get(&token, &format!("/clients/{APP}?page=1")).await;
    assert_eq!(answer.refusal(), (400, "invalid_query_string"));
}

#[tokio::test]
async fn every_operation_wants_its_scope_and_says_which() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token_with(&["read:users"]).await;
    let app = format!("/clients/{APP}");
    let rotate = format!("{app}/rotate-secret");
    for (method, path, body, scope) in [
        (Method::GET, "/clients", Value::Null, "read:clients"),
        (Method::GET, app.as_str(), Value::Null, "read:client_keys"),
        (Method::POST, "/clients", json!({"name": "n"}), "create:clients"),
        (Method::PATCH, app.as_str(), json!({"name": "n"}), "update:clients"),
        (Method::DELETE, app.as_str(), Value::Null, "delete:clients"),
        (Method::POST, rotate.as_str(), Value::Null, "update:client_keys"),
    ] {
        let answer = tenant.send(tenant.api(&token, method.clone(), path).json(&body)).await;
        assert_eq!(answer.refusal(), (403, "insufficient_scope"), "{method} {path}");
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains(scope), "{method} {path}: {message}");
        assert_eq!(answer.body["error"], "Forbidden");
    }
    assert_eq!(tenant.current(APP), APP_SECRET);
}

#[tokio::test]
async fn a_patch_wants_a_scope_for_each_kind_of_field() {
    let tenant = Tenant::start(immediate()).await;
    let keys = tenant.token_with(&["update:client_keys"]).await;
    let settings = tenant.token_with(&["update:clients"]).await;
    let secret = json!({"client_secret": "n"});
    let name = json!({"name": "n"});
    let both = json!({"client_secret": "n", "name": "n"});
    let methods =
        json!({"client_authentication_methods": key_methods(), "token_endpoint_auth_method": null});
    assert_eq!(tenant.patch(&settings, APP, secret.clone()).await.status, 403);
    assert_eq!(tenant.patch(&keys, APP, name.clone()).await.status, 403);
    assert_eq!(tenant.patch(&keys, APP, both.clone()).await.status, 403);
    assert_eq!(tenant.patch(&settings, APP, both).await.status, 403);
    assert_eq!(tenant.patch(&settings, APP, methods).await.status, 403);
    assert_eq!(tenant.current(APP), APP_SECRET, "a refused PATCH changes nothing");
    assert_eq!(tenant.patch(&settings, APP, name).await.status, 200);
    assert_eq!(tenant.patch(&keys, APP, secret).await.status, 200);
    assert_eq!(tenant.current(APP), "n");
}

#[tokio::test]
async fn a_patch_with_the_current_secret_changes_nothing() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for _ in 0..3 {
        assert_eq!(tenant.patch(&token, APP, json!({"client_secret": "n"})).await.status, 200);
    }
    let counts = tenant.simulator.counters().client(APP);
    assert_eq!(counts.effects.secret_patches, 1);
    assert_eq!(counts.effects.patches, 1);
    assert_eq!(counts.requests["clients.update"], 3);
}

#[tokio::test]
async fn bodies_are_checked() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for (body, text) in [
        (json!({"colour": "red"}), "'Additional properties not allowed: colour'"),
        (json!({"client_secret": ""}), "minimum 1' on property client_secret"),
        (json!({"client_secret": 5}), "Expected type string"),
        (json!({"grant_types": "client_credentials"}), "Expected type array"),
        (json!([]), "Expected type object"),
    ] {
        let answer = tenant.patch(&token, APP, body.clone()).await;
        assert_eq!(answer.refusal(), (400, "invalid_body"), "{body}");
        assert_eq!(answer.body["error"], "Bad Request");
        assert_eq!(answer.body["statusCode"], 400);
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.starts_with("Payload validation error: ") && message.contains(text));
    }
    let request = tenant.api(&token, Method::PATCH, &format!("/clients/{APP}"));
    let answer = tenant.send(request.header("content-type", "application/json").body("{")).await;
    assert_eq!(answer.refusal(), (400, "invalid_body"));
    let request = tenant.api(&token, Method::PATCH, &format!("/clients/{APP}")).body("a=b");
    assert_eq!(tenant.send(request).await.status, 415);
}

#[tokio::test]
async fn bodies_are_bounded() {
    let tenant = Tenant::start(immediate().body_limit(1_000)).await;
    let token = tenant.token().await;
    let answer = tenant.patch(&token, APP, json!({"description": "x".repeat(2_000)})).await;
    assert_eq!(answer.status, 413);
    let answer = tenant.login(APP, &"x".repeat(2_000), "a").await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn heads_are_bounded() {
    let tenant = Tenant::start(immediate()).await;
    let request = tenant.request(Method::GET, "/api/v2/clients");
    let many = (0..200).fold(request, |request, number| request.header(format!("x-{number}"), "v"));
    assert_eq!(tenant.send(many).await.status, 431);
    let large = tenant.request(Method::GET, "/api/v2/clients").header("x", "v".repeat(100_000));
    assert_eq!(tenant.send(large).await.status, 431);
}

#[tokio::test]
async fn clients_are_created_read_changed_and_deleted() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let body = json!({
        "name": "checkout", "app_type": "non_interactive",
        "client_metadata": {"k8s-namespace": "shop"},
    });
    let created = tenant.send(tenant.api(&token, Method::POST, "/clients").json(&body)).await;
    assert_eq!(created.status, 201);
    let id = created.body["client_id"].as_str().unwrap();
    assert_eq!((id.len(), id.chars().all(|c| c.is_ascii_alphanumeric())), (32, true));
    assert_eq!(created.body["client_secret"].as_str().unwrap().len(), 64);
    assert_eq!(created.body["token_endpoint_auth_method"], "client_secret_post");

    let change = json!({"client_metadata": {"team": "a", "k8s-namespace": null}});
    let changed = tenant.patch(&token, id, change).await;
    assert_eq!(changed.body["client_metadata"], json!({"team": "a"}));
    assert_eq!(tenant.get(&token, &format!("/clients/{id}")).await.body, changed.body);

    let path = format!("/clients/{id}");
    let deleted = tenant.send(tenant.api(&token, Method::DELETE, &path)).await;
    assert_eq!((deleted.status.as_u16(), &deleted.body), (204, &json!("")));
    assert_eq!(tenant.get(&token, &path).await.refusal(), (404, "inexistent_client"));
    let again = tenant.send(tenant.api(&token, Method::DELETE, &path)).await;
    assert_eq!(again.status, 204, "deleting what isn't there is no error");
}

#[tokio::test]
async fn creation_refuses_what_the_document_does() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for body in [json!({}), json!({"name": "a", "client_secret": "b"}), json!({"name": "<a>"})] {
        let answer = tenant.send(tenant.api(&token, Method::POST, "/clients").json(&body)).await;
        assert_eq!(answer.refusal(), (400, "invalid_body"), "{body}");
    }
}

#[tokio::test]
async fn unknown_clients_are_404_everywhere_but_in_delete() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let expected = json!({
        "statusCode": 404, "error": "Not Found",
        "message": "The client does not exist", "errorCode": "inexistent_client",
    });
    assert_eq!(tenant.get(&token, "/clients/nobody").await.body, expected);
    assert_eq!(tenant.patch(&token, "nobody", json!({"name": "x"})).await.body, expected);
    assert_eq!(tenant.rotate(&token, "nobody").await.body, expected);
}

#[tokio::test]
async fn ids_are_percent_decoded() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    tenant.simulator.add_client(ClientSeed::new("a/b c|ü")).unwrap();
    let answer = tenant.get(&token, "/clients/a%2Fb%20c%7C%C3%BC").await;
    assert_eq!(answer.body["client_id"], "a/b c|ü");
    assert_eq!(tenant.rotate(&token, "a%2Fb%20c%7C%C3%BC").await.status, 200);
    assert_eq!(tenant.get(&token, "/clients/%ff").await.refusal(), (400, "invalid_uri"));
}

#[tokio::test]
async fn both_pagings_lead_through_all_clients() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for number in 0..23 {
        tenant.simulator.add_client(ClientSeed::new(format!("client-{number}"))).unwrap();
    }
    let mut by_page = Vec::new();
    for page in 0.. {
        let path = format!("/clients?page={page}&per_page=10&include_totals=true&fields=client_id");
        let body = tenant.get(&token, &path).await.body;
        assert_eq!(body["total"], 25);
        assert_eq!((&body["start"], &body["limit"]), (&json!(page * 10), &json!(10)));
        let clients = body["clients"].as_array().unwrap().clone();
        if clients.is_empty() {
            break;
        }
        by_page.extend(clients);
    }
    let mut by_cursor = Vec::new();
    let mut path = "/clients?take=7&fields=client_id".to_string();
    loop {
        let body = tenant.get(&token, &path).await.body;
        by_cursor.extend(body["clients"].as_array().unwrap().clone());
        let Some(next) = body["next"].as_str() else { break };
        path = format!("/clients?take=7&fields=client_id&from={next}");
    }
    assert_eq!(by_page.len(), 25);
    assert_eq!(by_page, by_cursor);
    assert!(tenant.get(&token, "/clients").await.body.is_array());
    let refused = tenant.get(&token, "/clients?per_page=101").await;
    assert_eq!(refused.refusal(), (400, "invalid_query_string"));
}

#[tokio::test]
async fn tokens_are_needed_and_must_be_for_this_api() {
    let tenant = Tenant::start(immediate()).await;
    let path = format!("/clients/{MANAGER}");
    let without = tenant.send(tenant.request(Method::GET, &format!("/api/v2{path}"))).await;
    assert_eq!(without.refusal(), (401, "Unauthorized"));
    assert_eq!(without.body["message"], "Missing authentication");
    assert_eq!(tenant.get("made.up", &path).await.body["message"], "Invalid token");
    let login = tenant.login(APP, APP_SECRET, crate::support::API).await;
    let elsewhere = login.body["access_token"].as_str().unwrap();
    let answer = tenant.get(elsewhere, &path).await;
    assert_eq!(answer.status, 401);
    assert!(answer.body["message"].as_str().unwrap().starts_with("Bad audience"));
}

#[tokio::test]
async fn other_paths_dont_exist() {
    let tenant = Tenant::start(immediate()).await;
    for (method, path) in
        [(Method::GET, "/"), (Method::PUT, "/api/v2/clients"), (Method::GET, "/oauth/token")]
    {
        let answer = tenant.send(tenant.request(method, path)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["message"]), (404, &json!("Not Found")));
    }
}
