//! Clients whose secret at Auth0 cannot be published, or not be parsed, and lists that don't end.

use auth0_simulator::{Action, ClientSeed, Fault, Operation};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use testkit::{
    auth0::{self, application},
    fixture::Fixture,
};

fn with_control_character() -> String {
    format!("{}\u{1}{}", "vT3k".repeat(8), "Qx9w".repeat(8))
}

/// Returns clients that cannot be parsed as documented, by name.
fn odd_clients() -> Vec<ClientSeed> {
    let seed = |name: &str| application(name);
    vec![
        seed("control").secret(with_control_character()),
        seed("long").secret("Lk2r".repeat(1280)),
        seed("number").shown_secret(42),
        seed("object").shown_secret(json!({ "value": "x" })),
        seed("absent").shown_secret(Value::Null),
    ]
}

async fn start() -> Fixture {
    let tenant = odd_clients().into_iter().fold(auth0::tenant(), |tenant, odd| tenant.client(odd));
    let mut fixture = Fixture::with_simulator(tenant.start().await.unwrap()).await;
    fixture.start_operator();
    fixture
}

async fn assert_drift_is_followed(fixture: &Fixture) {
    fixture.simulator.dashboard_rotate("shop").unwrap();
    let value = fixture.simulator.client_secret("shop").unwrap().expose_secret().to_owned();
    fixture.wait_for_secret_data("shop-auth0", |data| data["client_secret"] == value).await;
}

#[tokio::test]
async fn odd_clients_spoil_no_drift_check_of_others() {
    let fixture = start().await;
    for name in ["shop", "cart", "pay"] {
        fixture.apply_rotation(name, json!({ "driftCheck": { "every": "1s" } })).await;
        fixture.wait_until_rotated(name, 1).await;
    }
    assert_drift_is_followed(&fixture).await;
    assert!(fixture.simulator.counters().requests(Operation::ListClients) > 0);
    fixture.finish().await;
}

#[tokio::test]
async fn list_that_never_ends_is_left_and_clients_are_read() {
    let fixture = start().await;
    let endless = Fault::new(Action::RepeatedNext).on(Operation::ListClients).unlimited();
    fixture.simulator.faults().inject(endless).unwrap();
    for name in ["shop", "cart", "pay"] {
        fixture.apply_rotation(name, json!({ "driftCheck": { "every": "1s" } })).await;
        fixture.wait_until_rotated(name, 1).await;
    }
    assert_drift_is_followed(&fixture).await;
    fixture.finish().await;
}

#[tokio::test]
async fn secret_that_cannot_be_published_is_reported_and_rotated_away() {
    let fixture = start().await;
    let expected = [
        ("control", "SecretUnpublishable"),
        ("long", "SecretUnpublishable"),
        ("number", "SecretUnpublishable"),
        ("object", "SecretUnpublishable"),
        ("absent", "SecretUnreadable"),
    ];
    for (name, _) in expected {
        fixture.apply_rotation(name, json!({})).await;
    }
    for (name, reason) in expected {
        let message = fixture.wait_for_reason(name, "Stalled", reason).await;
        assert!(message.contains("rotate/<any text>"), "{message}");
        fixture.request(name, "rotate/now").await;
    }
    for (name, _) in expected {
        fixture.wait_until_rotated(name, 2).await;
        fixture.assert_published(name).await;
    }
    fixture.finish().await;
}

#[tokio::test]
async fn initial_rotation_replaces_a_secret_that_cannot_be_published() {
    let fixture = start().await;
    for (name, strategy) in [("control", "Rotate"), ("number", "Staged")] {
        let spec = json!({ "initial": "Rotate", "strategy": strategy });
        fixture.apply_rotation(name, spec).await;
        fixture.wait_until_rotated(name, 2).await;
        fixture.assert_published(name).await;
    }
    fixture.finish().await;
}

#[tokio::test]
async fn change_to_a_secret_that_cannot_be_published_is_reported() {
    let fixture = start().await;
    for name in ["shop", "cart"] {
        fixture.apply_rotation(name, json!({ "driftCheck": { "every": "1s" } })).await;
        fixture.wait_until_rotated(name, 1).await;
    }
    let odd = SecretString::from(with_control_character());
    fixture.simulator.set_client_secret("shop", odd).unwrap();
    fixture.wait_for_reason("shop", "Ready", "SecretUnpublishable").await;
    fixture.wait_for_reason("cart", "Ready", "Published").await;
    fixture.request("shop", "rotate/now").await;
    fixture.wait_until_rotated("shop", 2).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}
