//! An API server that asks for fewer requests.

use serde_json::json;
use testkit::fixture::Fixture;

const LIMIT: &str = "auth0_rotator_concurrency_limit";

#[tokio::test]
async fn rejected_writes_lower_the_concurrency_and_lose_nothing() {
    let mut fixture = Fixture::without_operator().await;
    let proxy = fixture.use_api_proxy(1).await;
    let names: Vec<_> = (0..24).map(|number| format!("app-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let strategy = if number % 2 == 0 { "Rotate" } else { "Staged" };
        let spec = json!({ "strategy": strategy, "staging": { "period": "1s" } });
        fixture.apply_rotation(name, spec).await;
    }
    fixture.start_operator();
    for name in &names {
        fixture.wait_until_rotated(name, 1).await;
    }
    proxy.reject_one_write_of(2);
    for name in &names {
        fixture.request(name, "rotate/now").await;
    }
    let is_lowered = async || fixture.operator().metric(LIMIT).await == 8.0;
    fixture.wait_until_async("the concurrency has its least value", is_lowered).await;
    proxy.reject_one_write_of(0);
    for name in &names {
        fixture.wait_until_rotated(name, 2).await;
        fixture.assert_published(name).await;
    }
    fixture.finish().await;
}
