//! What is found at the end in the cluster and in the operator's log.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use kube::Client;
use serde_json::Value;
use testbed::leaks::{self, Place};

/// The texts in which no secret may occur.
pub(crate) async fn places(client: &Client, namespace: &str, log: &Path) -> Result<Vec<Place>> {
    let log = fs::read_to_string(log).context("can't read the operator's log")?;
    let mut places = vec![Place::new("operator.log", log.clone())];
    places.extend(leaks::in_resources(client, namespace).await?);
    // An operator that has ended has no metrics.
    if let Some(metrics) = metrics(&log).await {
        places.push(Place::new("metrics.txt", metrics));
    }
    Ok(places)
}

async fn metrics(log: &str) -> Option<String> {
    let url = format!("http://{}/metrics", metrics_address(log)?);
    let client = reqwest::Client::builder().no_proxy().build().ok()?;
    client.get(url).send().await.ok()?.text().await.ok()
}

/// Where the operator serves its metrics, as its log tells.
fn metrics_address(log: &str) -> Option<String> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut listening = lines.filter(|line| line["message"] == "listening");
    // The last one: the processes before it are gone.
    let metrics = listening.rfind(|line| line["what"] == "metrics")?;
    metrics["address"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_are_where_the_log_says() {
        let log = "not json\n\
                   {\"message\":\"listening\",\"what\":\"metrics\",\"address\":\"127.0.0.1:1\"}\n\
                   {\"message\":\"listening\",\"what\":\"metrics\",\"address\":\"127.0.0.1:2\"}\n\
                   {\"message\":\"listening\",\"what\":\"health\",\"address\":\"127.0.0.1:3\"}\n";
        assert_eq!(metrics_address(log).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(metrics_address(""), None);
    }
}
