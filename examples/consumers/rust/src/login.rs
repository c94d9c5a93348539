//! Login of a client whose secret is rotated.

use std::sync::Arc;

use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::secrets::Secrets;

/// The client, and where it logs in.
pub struct Settings {
    /// `https://acme.eu.auth0.com`
    pub endpoint: String,
    pub client_id: String,
    pub audience: String,
}

#[derive(Debug, Deserialize)]
pub struct Token {
    #[allow(dead_code, reason = "a real service would use the token; this example only logs in")]
    pub access_token: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("Auth0 rejected every secret in the list")]
    AllSecretsRejected,
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// Result of a login, with the number of secrets that were tried.
pub struct Outcome {
    pub result: Result<Token, LoginError>,
    pub tries: usize,
}

/// Requests access tokens for a client whose secret is rotated.
pub struct Login {
    settings: Settings,
    secrets: Arc<Secrets>,
    http: Client,
    /// The secret that Auth0 accepted last. Locked during a login, so that logins don't overlap.
    last_accepted: Mutex<Option<SecretString>>,
}

impl Login {
    pub fn new(settings: Settings, secrets: Arc<Secrets>, http: Client) -> Self {
        Self { settings, secrets, http, last_accepted: Mutex::default() }
    }

    /// Logs in. Tries the secret that Auth0 accepted last, then the list in order. If Auth0 rejects
    /// all of them, reads the list again and tries the new one once.
    pub async fn token(&self) -> Outcome {
        let mut last_accepted = self.last_accepted.lock().await;
        let mut tries = 0;
        for _ in 0..2 {
            for secret in candidates(last_accepted.as_ref(), &self.secrets.list()) {
                tries += 1;
                match self.request_token(&secret).await {
                    Ok(Some(token)) => {
                        *last_accepted = Some(secret);
                        return Outcome { result: Ok(token), tries };
                    }
                    Ok(None) => {}
                    Err(error) => return Outcome { result: Err(error.into()), tries },
                }
            }
            *last_accepted = None;
            self.secrets.refresh_or_log();
        }
        Outcome { result: Err(LoginError::AllSecretsRejected), tries }
    }

    /// Returns a token, or `None` if Auth0 rejected the secret itself: status 401, with
    /// `invalid_client` or `access_denied`. After any other error, another secret would not help.
    async fn request_token(&self, secret: &SecretString) -> reqwest::Result<Option<Token>> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.settings.client_id),
            ("client_secret", secret.expose_secret()),
            ("audience", &self.settings.audience),
        ];
        let url = format!("{}/oauth/token", self.settings.endpoint);
        let response = self.http.post(url).form(&form).send().await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        response.error_for_status()?.json().await.map(Some)
    }
}

/// Returns the secrets in the order in which to try them.
fn candidates(last_accepted: Option<&SecretString>, list: &[SecretString]) -> Vec<SecretString> {
    let Some(last_accepted) = last_accepted else {
        return list.to_vec();
    };
    let mut candidates = vec![last_accepted.clone()];
    for secret in list {
        if secret.expose_secret() != last_accepted.expose_secret() {
            candidates.push(secret.clone());
        }
    }
    candidates
}
