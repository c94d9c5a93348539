//! What must not be told, where it comes nearest to being told: panics, junk in Secrets, and what
//! is left of a process.

use std::fs;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use testkit::fixture::{DEADLINE, Fixture};

use crate::tenants::{reason_of_tenant, touch};

#[tokio::test]
async fn no_core_is_dumped() {
    let bench = Fixture::start().await;
    bench.operator().wait_until_ready().await;
    let limits = fs::read_to_string(format!("/proc/{}/limits", bench.operator().pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    bench.finish().await;
}

/// What stands in the credentials Secret instead of credentials is not quoted.
#[tokio::test]
async fn junk_in_a_credentials_secret_is_not_quoted() {
    let mut bench = Fixture::start().await;
    let junk = "junk-with-a-treasure-in-it-Qw83hFzLpA0v";
    bench.confidential.push(junk.to_owned());
    let not_json = format!("[\"{junk}\", 7");
    let wrong_type = format!("[{{\"{junk}\": 1}}]");
    let not_one = format!("{junk}\u{0}{junk}");
    for list in [&not_json, &wrong_type, &not_one] {
        let data = [("client_id", "manager"), ("client_secrets", list.as_str()), ("more", junk)];
        bench.write_secret("auth0-management", &data).await;
        touch(&bench).await;
        let message = reason_of_tenant(&bench, "CredentialsUnreadable").await;
        assert!(!message.contains("treasure"), "{message}");
        bench.apply_tenant(json!({})).await;
        touch(&bench).await;
        reason_of_tenant(&bench, "Usable").await;
    }
    bench.finish().await;
}

/// What is no text in the target Secret is replaced, and not quoted.
#[tokio::test]
async fn bytes_that_are_no_text_are_replaced() {
    let bench = Fixture::start().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.wait_until_rotated("shop", 1).await;
    // 0xff 0xfe, a NUL, and a list that is none.
    let data = json!({ "client_secret": "//4A", "client_secrets": "WyJubyBsaXN0" });
    let patch = json!({ "data": data });
    let params = PatchParams::default();
    bench.api::<Secret>().patch("shop-auth0", &params, &Patch::Merge(patch)).await.unwrap();
    let secret = bench.api::<Secret>();
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let data = secret.get("shop-auth0").await.unwrap().data.unwrap();
        if data["client_secret"].0 != [0xff, 0xfe, 0] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}", bench.log_tail());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    bench.wait_until_rotated("shop", 1).await;
    bench.assert_published("shop").await;
    bench.finish().await;
}

/// The process ends by a panic while it has a value in hand, with backtraces on.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_panic_with_a_value_in_hand_does_not_tell_it() {
    let mut bench = Fixture::without_operator().await;
    bench.apply_rotation("shop", json!({})).await;
    bench.start_operator();
    bench.wait_until_rotated("shop", 1).await;
    for (number, place) in ["before-publish", "after-rotate-secret"].into_iter().enumerate() {
        bench.stop_operator().await;
        let panics = format!("{place}=panic(a test ends it here)");
        let command = bench.operator_command().args(["--allow-http-endpoints"]);
        let command = command.env("FAILPOINTS", panics).env("RUST_BACKTRACE", "full");
        let mut operator = command.spawn().unwrap();
        bench.request("shop", &format!("rotate/{number}")).await;
        let deadline = std::time::Instant::now() + DEADLINE;
        while operator.exit_status().is_none() {
            assert!(std::time::Instant::now() < deadline, "{place}: it doesn't end");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let told = fs::read_dir(bench.log_dir.path()).unwrap().any(|file| {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            text.contains("panicked") && text.contains("a test ends it here")
        });
        assert!(told, "{place}: there is a panic to look through");
        bench.start_operator();
        bench.wait_until_rotated("shop", number as u64 + 2).await;
    }
    bench.finish().await;
}
