//! Credentials of a tenant's management client.

use futures::future::BoxFuture;

use crate::{client_secret::ClientSecret, error::Error, private_key_jwt::KeyCredentials};

/// How the management client authenticates.
#[derive(Debug)]
pub enum Credentials {
    /// With a client secret.
    Secrets {
        /// The client ID.
        client_id: String,
        /// At least one secret, in the order in which they are tried.
        secrets: Vec<ClientSecret>,
    },
    /// With a private key.
    Key(KeyCredentials),
}

impl Credentials {
    /// Returns the client ID of the management client.
    pub fn client_id(&self) -> &str {
        match self {
            Self::Secrets { client_id, .. } => client_id,
            Self::Key(key) => &key.client_id,
        }
    }
}

/// Source of credentials. They are loaded for every token request, so that changes take effect.
pub trait CredentialsSource: Send + Sync {
    /// Loads the credentials.
    fn load(&self) -> BoxFuture<'_, Result<Credentials, Error>>;
}
