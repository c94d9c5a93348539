//! Secret values stay out of core dumps, panics, and messages about malformed Secrets.

use std::fs;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testkit::fixture::Fixture;

use crate::{tenant_status::wait_for_tenant_reason, tenants::trigger_reconcile};

#[tokio::test]
async fn core_dumps_are_disabled() {
    let fixture = Fixture::start().await;
    fixture.operator().wait_until_ready().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", fixture.operator().pid())).unwrap();
    let core_limit = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = core_limit.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core_limit}");
    fixture.finish().await;
}

#[tokio::test]
async fn malformed_credentials_are_not_quoted() {
    let mut fixture = Fixture::start().await;
    let junk = "junk-with-a-treasure-in-it-Qw83hFzLpA0v";
    fixture.confidential.push(junk.to_owned());
    let not_json = format!("[\"{junk}\", 7");
    let wrong_type = format!("[{{\"{junk}\": 1}}]");
    let no_list = format!("{junk}\u{0}{junk}");
    for list in [&not_json, &wrong_type, &no_list] {
        let data = [("client_id", "manager"), ("client_secrets", list.as_str()), ("more", junk)];
        fixture.write_secret("auth0-management", &data).await;
        trigger_reconcile(&fixture).await;
        let message = wait_for_tenant_reason(&fixture, "acme", "CredentialsUnreadable").await;
        assert!(!message.contains("treasure"), "{message}");
        fixture.apply_tenant(json!({})).await;
        trigger_reconcile(&fixture).await;
        wait_for_tenant_reason(&fixture, "acme", "Usable").await;
    }
    fixture.finish().await;
}

#[tokio::test]
async fn values_that_are_not_utf_8_are_replaced() {
    let fixture = Fixture::start().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.wait_until_rotated("shop", 1).await;
    // The bytes 0xff, 0xfe and 0, and a text that is not a list.
    let data = json!({ "client_secret": "//4A", "client_secrets": "WyJubyBsaXN0" });
    let patch = Patch::Merge(json!({ "data": data }));
    let secrets = fixture.api::<Secret>();
    secrets.patch("shop-auth0", &PatchParams::default(), &patch).await.unwrap();
    let is_replaced = async || {
        let data = secrets.get("shop-auth0").await.unwrap().data.unwrap();
        data["client_secret"].0 != [0xff, 0xfe, 0]
    };
    fixture.wait_until_async("the value is replaced", is_replaced).await;
    fixture.wait_until_rotated("shop", 1).await;
    fixture.assert_published("shop").await;
    fixture.finish().await;
}

/// The process panics while it has an unpublished value, with backtraces enabled.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn panic_with_an_unpublished_value_does_not_leak_it() {
    let mut fixture = Fixture::without_operator().await;
    fixture.apply_rotation("shop", json!({})).await;
    fixture.start_operator();
    fixture.wait_until_rotated("shop", 1).await;
    for (number, failpoint) in ["before-publish", "after-rotate-secret"].into_iter().enumerate() {
        fixture.stop_operator().await;
        let panics = format!("{failpoint}=panic(failpoint of a test)");
        let command = fixture.operator_command().args(["--allow-http-endpoints"]);
        let command = command.env("FAILPOINTS", panics).env("RUST_BACKTRACE", "full");
        let operator = command.spawn().unwrap();
        fixture.request("shop", &format!("rotate/{number}")).await;
        operator.wait_for_exit().await;
        // The leak scan at the end of the test is only meaningful if the logs contain the panic.
        let has_panic = fs::read_dir(fixture.log_dir.path()).unwrap().any(|file| {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            text.contains("panicked") && text.contains("failpoint of a test")
        });
        assert!(has_panic, "{failpoint}: no log contains the panic");
        fixture.start_operator();
        fixture.wait_until_rotated("shop", number as u64 + 2).await;
    }
    fixture.finish().await;
}
