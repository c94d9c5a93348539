//! Load generator: concurrent requests to the API server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{TryStreamExt as _, stream};
use http::{Method, Request, header::CONTENT_TYPE};
use kube::Client;
use serde_json::Value;

/// Concurrent requests with which objects are created and annotated.
pub(crate) const CONCURRENCY: usize = 16;

/// Calls a function with each number below `count`, so many at a time.
pub(crate) async fn for_each(
    count: usize,
    concurrency: usize,
    request: impl AsyncFn(usize) -> Result<()>,
) -> Result<()> {
    let numbers = stream::iter((0..count).map(Ok));
    let request = &request;
    numbers.try_for_each_concurrent(concurrency, |number| request(number)).await
}

/// Calls a function with each number below `count`, one after another, at most one per interval.
pub(crate) async fn for_each_paced(
    count: usize,
    interval: Duration,
    request: impl AsyncFn(usize) -> Result<()>,
) -> Result<()> {
    let mut ticks = tokio::time::interval(interval);
    for number in 0..count {
        ticks.tick().await;
        request(number).await?;
    }
    Ok(())
}

/// Creates an object.
pub(crate) async fn create(client: &Client, collection: &str, object: &Value) -> Result<String> {
    send(client, Method::POST, collection, "application/json", object).await
}

/// Replaces an object or its status.
pub(crate) async fn replace(client: &Client, path: &str, object: &Value) -> Result<String> {
    send(client, Method::PUT, path, "application/json", object).await
}

/// Merges a patch into an object.
pub(crate) async fn merge(client: &Client, path: &str, patch: &Value) -> Result<String> {
    send(client, Method::PATCH, path, "application/merge-patch+json", patch).await
}

async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: &Value,
) -> Result<String> {
    let request = Request::builder().method(method.clone()).uri(path);
    let request = request.header(CONTENT_TYPE, content_type).body(serde_json::to_vec(body)?)?;
    client.request_text(request).await.with_context(|| format!("{method} {path} failed"))
}
