//! Clients as the Management API describes them.

use std::collections::BTreeMap;

use crate::client_secret::ClientSecret;

/// A client as the Management API describes it.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    /// The client ID.
    pub client_id: String,
    /// Whether the client authenticates with a secret, and whose secret that is.
    pub kind: ClientKind,
    /// The client signs ID tokens with its secret (`jwt_configuration.alg` is `HS256`).
    pub signs_with_secret: bool,
    /// The client's `client_metadata`.
    pub metadata: ClientMetadata,
    /// The client's secret, if the scopes of the token allow to read it and the response had one.
    pub secret: Option<ClientSecret>,
    /// The response had a secret that cannot be published: it has control characters, is longer than
    /// 4096 bytes, or is no text.
    pub is_secret_malformed: bool,
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
            is_secret_malformed: false,
        }
    }
}

/// Whether a client authenticates with a secret that may be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// With its secret, as far as is known.
    Confidential,
    /// A native application without a confidential `token_endpoint_auth_method`: it may not use its
    /// secret.
    Native,
    /// A third-party client in strict mode: Auth0 may reject secrets that a caller chooses.
    StrictThirdParty,
    /// Not at all (`token_endpoint_auth_method` is `none`, or the client is a single-page
    /// application).
    Public,
    /// With keys (`client_authentication_methods`).
    KeyBased,
    /// The tenant's global client, which belongs to Auth0 itself (`global`).
    Global,
    /// A client from a Client ID Metadata Document, which must not use the secret that it has
    /// (`external_metadata_type` is `cimd`).
    MetadataDocument,
}

/// One page of a list of clients.
#[derive(Debug)]
pub struct ClientPage {
    /// The clients on this page.
    pub clients: Vec<ClientInfo>,
    /// The page after this one.
    pub next: NextPage,
}

/// The page after another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPage {
    /// There is none.
    End,
    /// It starts from this position.
    From(String),
    /// Its position is of no use.
    Unusable,
}
