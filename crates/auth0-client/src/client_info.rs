//! Clients as the Management API describes them.

use std::collections::BTreeMap;

use crate::client_secret::ClientSecret;

/// A client as the Management API describes it.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// The client ID.
    pub client_id: String,
    /// How the client authenticates.
    pub kind: ClientKind,
    /// The client signs ID tokens with its secret (`jwt_configuration.alg` is `HS256`).
    pub signs_with_secret: bool,
    /// The client's `client_metadata`; empty in a list.
    pub metadata: ClientMetadata,
    /// The client's secret, if the scopes of the token allow to read it and the response had one.
    pub secret: Option<ClientSecret>,
}

/// The text values of a client's `client_metadata`. Values of other types are left out.
pub type ClientMetadata = BTreeMap<String, String>;

impl ClientInfo {
    /// Describes a client that the token may not read, and assumes that it uses a secret.
    pub fn assume_confidential(client_id: &str) -> Self {
        Self {
            client_id: client_id.to_owned(),
            kind: ClientKind::Confidential,
            signs_with_secret: false,
            metadata: ClientMetadata::new(),
            secret: None,
        }
    }
}

/// How a client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// With its secret, as far as is known.
    Confidential,
    /// Not at all (`token_endpoint_auth_method` is `none`).
    Public,
    /// With keys (`client_authentication_methods`).
    KeyBased,
}

/// One page of a list of clients.
#[derive(Debug)]
pub struct ClientPage {
    /// The clients on this page.
    pub clients: Vec<ClientInfo>,
    /// The number of clients on all pages.
    pub total: usize,
}
