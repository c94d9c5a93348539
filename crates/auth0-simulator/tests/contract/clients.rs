//! Clients endpoints of the Management API: responses, scopes and validation.

use auth0_simulator::ClientSeed;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{APP, APP_SECRET, MANAGER, Tenant, immediate, key_methods, member_names};

#[tokio::test]
async fn rotate_secret_returns_the_complete_client_with_its_new_secret() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let response = tenant.rotate(&token, APP).await;
    assert_eq!(response.status, 200);
    let value = response.body["client_secret"].as_str().unwrap();
    assert_eq!(value.len(), 64);
    assert!(value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-'), "{value}");
    assert_eq!(response.body["client_id"], APP);
    assert_eq!(response.body["grant_types"], json!(["client_credentials"]));
    assert_eq!(response.body["tenant"], "acme");
    assert_eq!(tenant.current(APP), value);
    assert_eq!(tenant.revoke(APP, value).await.status, 200);
    assert_eq!(tenant.revoke(APP, APP_SECRET).await.status, 401);
}

#[tokio::test]
async fn each_rotation_generates_a_different_secret() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let first = tenant.rotate(&token, APP).await.body["client_secret"].clone();
    let second = tenant.rotate(&token, APP).await.body["client_secret"].clone();
    assert_ne!(first, second);
    assert_eq!(tenant.simulator.counters().client(APP).effects.rotations, 2);
}

#[tokio::test]
async fn rotate_shows_the_secret_without_read_scope_only_if_configured() {
    for shows in [true, false] {
        let tenant = Tenant::start(immediate().rotate_shows_secret(shows)).await;
        let token = tenant.token_with(&["update:client_keys"]).await;
        let response = tenant.rotate(&token, APP).await;
        assert_eq!(response.status, 200);
        assert_eq!(response.body.get("client_secret").is_some(), shows);
        assert_ne!(tenant.current(APP), APP_SECRET, "must rotate in both cases");
    }
}

#[tokio::test]
async fn rejects_secret_changes_for_clients_that_authenticate_by_key() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let keyed = ClientSeed::new("keyed").field("client_authentication_methods", key_methods());
    tenant.simulator.add_client(keyed).unwrap();
    let before = tenant.current("keyed");
    assert_eq!(tenant.rotate(&token, "keyed").await.status, 400);
    assert_eq!(tenant.patch(&token, "keyed", json!({"client_secret": "x"})).await.status, 400);
    assert_eq!(tenant.current("keyed"), before);
    let response = tenant.get(&token, "/clients/keyed").await;
    assert!(response.body.get("client_secret").is_none());
    assert!(response.body.get("token_endpoint_auth_method").is_none());
    assert_eq!(response.body["client_authentication_methods"], key_methods());
}

#[tokio::test]
async fn public_clients_have_a_secret() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let public = ClientSeed::new("spa").field("token_endpoint_auth_method", "none");
    tenant.simulator.add_client(public).unwrap();
    let response = tenant.get(&token, "/clients/spa").await;
    assert_eq!(response.body["token_endpoint_auth_method"], "none");
    assert!(response.body["client_secret"].is_string());
}

#[tokio::test]
async fn get_shows_the_fields_that_the_scopes_allow() {
    let tenant = Tenant::start(immediate()).await;
    for (scopes, shows_settings, shows_secret) in [
        (&["read:client_summary"][..], false, false),
        (&["read:clients"], true, false),
        (&["read:client_credentials"], false, true),
        (&["read:client_keys"], true, true),
    ] {
        let token = tenant.token_with(scopes).await;
        let response = tenant.get(&token, &format!("/clients/{APP}")).await;
        assert_eq!(response.status, 200, "{scopes:?}");
        assert_eq!(response.body["name"], APP);
        assert_eq!(response.body.get("callbacks").is_some(), shows_settings, "{scopes:?}");
        assert_eq!(response.body.get("client_secret").is_some(), shows_secret, "{scopes:?}");
        let list = tenant.get(&token, "/clients").await;
        let listed = list.body.as_array().unwrap().iter().find(|it| it["client_id"] == APP);
        assert_eq!(listed.unwrap().get("client_secret").is_some(), shows_secret, "{scopes:?}");
    }
}

#[tokio::test]
async fn get_returns_the_selected_fields() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let path = format!("/clients/{APP}?fields=client_id,client_secret&include_fields=true");
    let response = tenant.get(&token, &path).await;
    assert_eq!(response.body, json!({"client_id": APP, "client_secret": APP_SECRET}));
    let path = format!("/clients/{APP}?fields=client_secret&include_fields=false");
    let response = tenant.get(&token, &path).await;
    assert!(!member_names(&response.body).contains(&"client_secret"));
    let response = tenant.get(&token, &format!("/clients/{APP}?page=1")).await;
    assert_eq!(response.error(), (400, "invalid_query_string"));
}

#[tokio::test]
async fn every_operation_names_its_missing_scope() {
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
        let response = tenant.send(tenant.api(&token, method.clone(), path).json(&body)).await;
        assert_eq!(response.error(), (403, "insufficient_scope"), "{method} {path}");
        let message = response.body["message"].as_str().unwrap();
        assert!(message.contains(scope), "{method} {path}: {message}");
        assert_eq!(response.body["error"], "Forbidden");
    }
    assert_eq!(tenant.current(APP), APP_SECRET);
}

#[tokio::test]
async fn patch_requires_the_scope_of_each_field() {
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
    assert_eq!(tenant.current(APP), APP_SECRET, "a rejected PATCH must change nothing");
    assert_eq!(tenant.patch(&settings, APP, name).await.status, 200);
    assert_eq!(tenant.patch(&keys, APP, secret).await.status, 200);
    assert_eq!(tenant.current(APP), "n");
}

#[tokio::test]
async fn patch_with_the_current_secret_changes_nothing() {
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
async fn validates_bodies() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for (body, text) in [
        (json!({"color": "red"}), "'Additional properties not allowed: color'"),
        (json!({"client_secret": ""}), "minimum 1' on property client_secret"),
        (json!({"client_secret": 5}), "Expected type string"),
        (json!({"grant_types": "client_credentials"}), "Expected type array"),
        (json!([]), "Expected type object"),
    ] {
        let response = tenant.patch(&token, APP, body.clone()).await;
        assert_eq!(response.error(), (400, "invalid_body"), "{body}");
        assert_eq!(response.body["error"], "Bad Request");
        assert_eq!(response.body["statusCode"], 400);
        let message = response.body["message"].as_str().unwrap();
        assert!(message.starts_with("Payload validation error: ") && message.contains(text));
    }
    let request = tenant.api(&token, Method::PATCH, &format!("/clients/{APP}"));
    let response = tenant.send(request.header("content-type", "application/json").body("{")).await;
    assert_eq!(response.error(), (400, "invalid_body"));
    let request = tenant.api(&token, Method::PATCH, &format!("/clients/{APP}")).body("a=b");
    assert_eq!(tenant.send(request).await.status, 415);
}

#[tokio::test]
async fn limits_body_size() {
    let tenant = Tenant::start(immediate().body_limit(1_000)).await;
    let token = tenant.token().await;
    let response = tenant.patch(&token, APP, json!({"description": "x".repeat(2_000)})).await;
    assert_eq!(response.status, 413);
    let response = tenant.login(APP, &"x".repeat(2_000), "a").await;
    assert_eq!(response.status, 413);
}

#[tokio::test]
async fn limits_headers() {
    let tenant = Tenant::start(immediate()).await;
    let request = tenant.request(Method::GET, "/api/v2/clients");
    let many = (0..200).fold(request, |request, number| request.header(format!("x-{number}"), "v"));
    assert_eq!(tenant.send(many).await.status, 431);
    let large = tenant.request(Method::GET, "/api/v2/clients").header("x", "v".repeat(100_000));
    assert_eq!(tenant.send(large).await.status, 431);
}

#[tokio::test]
async fn creates_reads_updates_and_deletes_clients() {
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
    assert_eq!(tenant.get(&token, &path).await.error(), (404, "inexistent_client"));
    let again = tenant.send(tenant.api(&token, Method::DELETE, &path)).await;
    assert_eq!(again.status, 204, "deleting an absent client is no error");
}

#[tokio::test]
async fn creation_rejects_invalid_bodies() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    for body in [json!({}), json!({"name": "a", "client_secret": "b"}), json!({"name": "<a>"})] {
        let response = tenant.send(tenant.api(&token, Method::POST, "/clients").json(&body)).await;
        assert_eq!(response.error(), (400, "invalid_body"), "{body}");
    }
}

#[tokio::test]
async fn returns_404_for_unknown_clients_except_in_delete() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    let expected = json!({
        "statusCode": 404, "error": "Not Found",
        "message": "The client does not exist", "errorCode": "inexistent_client",
    });
    assert_eq!(tenant.get(&token, "/clients/unknown").await.body, expected);
    assert_eq!(tenant.patch(&token, "unknown", json!({"name": "x"})).await.body, expected);
    assert_eq!(tenant.rotate(&token, "unknown").await.body, expected);
}

#[tokio::test]
async fn percent_decodes_ids() {
    let tenant = Tenant::start(immediate()).await;
    let token = tenant.token().await;
    tenant.simulator.add_client(ClientSeed::new("a/b c|ü")).unwrap();
    let response = tenant.get(&token, "/clients/a%2Fb%20c%7C%C3%BC").await;
    assert_eq!(response.body["client_id"], "a/b c|ü");
    assert_eq!(tenant.rotate(&token, "a%2Fb%20c%7C%C3%BC").await.status, 200);
    assert_eq!(tenant.get(&token, "/clients/%ff").await.error(), (400, "invalid_uri"));
}

#[tokio::test]
async fn both_pagination_modes_list_all_clients() {
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
    let rejected = tenant.get(&token, "/clients?per_page=101").await;
    assert_eq!(rejected.error(), (400, "invalid_query_string"));
}

#[tokio::test]
async fn requires_a_token_for_the_management_api() {
    let tenant = Tenant::start(immediate()).await;
    let path = format!("/clients/{MANAGER}");
    let without = tenant.send(tenant.request(Method::GET, &format!("/api/v2{path}"))).await;
    assert_eq!(without.error(), (401, "Unauthorized"));
    assert_eq!(without.body["message"], "Missing authentication");
    assert_eq!(tenant.get("invalid.token", &path).await.body["message"], "Invalid token");
    let login = tenant.login(APP, APP_SECRET, crate::support::API).await;
    let other_audience_token = login.body["access_token"].as_str().unwrap();
    let response = tenant.get(other_audience_token, &path).await;
    assert_eq!(response.status, 401);
    assert!(response.body["message"].as_str().unwrap().starts_with("Bad audience"));
}

#[tokio::test]
async fn returns_404_for_other_paths() {
    let tenant = Tenant::start(immediate()).await;
    for (method, path) in
        [(Method::GET, "/"), (Method::PUT, "/api/v2/clients"), (Method::GET, "/oauth/token")]
    {
        let response = tenant.send(tenant.request(method, path)).await;
        assert_eq!(
            (response.status.as_u16(), &response.body["message"]),
            (404, &json!("Not Found"))
        );
    }
}
