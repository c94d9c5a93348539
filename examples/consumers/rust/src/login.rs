//! Logins of a client whose secret changes.

use std::sync::Arc;

use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::secrets::Secrets;

/// Where to log in, and as whom.
pub struct Settings {
    /// `https://acme.eu.auth0.com`
    pub endpoint: String,
    pub client_id: String,
    pub audience: String,
}

#[derive(Debug, Deserialize)]
pub struct Token {
    #[allow(dead_code, reason = "what a service logs in for; this program only counts logins")]
    pub access_token: SecretString,
}

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("Auth0 refuses each secret of the list")]
    Refused,
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// A login, and how many secrets were tried for it.
pub struct Outcome {
    pub result: Result<Token, Failure>,
    pub tries: usize,
}

pub struct Login {
    settings: Settings,
    secrets: Arc<Secrets>,
    http: Client,
    /// The secret that worked last. One login at a time.
    works: Mutex<Option<SecretString>>,
}

impl Login {
    pub fn new(settings: Settings, secrets: Arc<Secrets>, http: Client) -> Self {
        Self { settings, secrets, http, works: Mutex::default() }
    }

    /// Logs in: with the secret that worked last, then with the list in its order, and once more with
    /// what a fresh read of it has.
    pub async fn token(&self) -> Outcome {
        let mut works = self.works.lock().await;
        let mut tries = 0;
        for _ in 0..2 {
            for secret in candidates(works.as_ref(), &self.secrets.list()) {
                tries += 1;
                match self.ask(&secret).await {
                    Ok(Some(token)) => {
                        *works = Some(secret);
                        return Outcome { result: Ok(token), tries };
                    }
                    Ok(None) => {}
                    Err(error) => return Outcome { result: Err(error.into()), tries },
                }
            }
            *works = None;
            self.secrets.refresh_or_complain();
        }
        Outcome { result: Err(Failure::Refused), tries }
    }

    /// `None` when it was the secret that Auth0 didn't accept: 401, with `invalid_client` or
    /// `access_denied`. Another secret is of no use against any other answer.
    async fn ask(&self, secret: &SecretString) -> reqwest::Result<Option<Token>> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.settings.client_id),
            ("client_secret", secret.expose_secret()),
            ("audience", &self.settings.audience),
        ];
        let url = format!("{}/oauth/token", self.settings.endpoint);
        let answer = self.http.post(url).form(&form).send().await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        answer.error_for_status()?.json().await.map(Some)
    }
}

fn candidates(works: Option<&SecretString>, list: &[SecretString]) -> Vec<SecretString> {
    let is_other = |listed: &&SecretString| {
        works.is_none_or(|works| works.expose_secret() != listed.expose_secret())
    };
    works.into_iter().chain(list.iter().filter(is_other)).cloned().collect()
}
