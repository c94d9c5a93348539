//! Kinds of clients: which of them must not be rotated, and which may not need it.

use auth0_client::{ClientInfo, ClientKind};
use rotation::{ClientDoubt, Reason, Rejection};

/// Returns why a client cannot be rotated, if it cannot.
pub(super) fn reject_client(client: &ClientInfo) -> Option<Rejection> {
    let (reason, message) = match client.kind {
        ClientKind::Confidential | ClientKind::Native | ClientKind::StrictThirdParty => {
            return None;
        }
        ClientKind::Public => (
            Reason::PublicClient,
            "the client is public (its token_endpoint_auth_method is none, or it is a single-page \
             application), so it has no secret to rotate. Choose an authentication method in Auth0, \
             or delete this resource",
        ),
        ClientKind::KeyBased => (
            Reason::ClientUsesKeys,
            "the client authenticates with keys (client_authentication_methods), so it has no \
             secret to rotate. Delete this resource, or switch the client back to a client secret",
        ),
        ClientKind::Global => (
            Reason::GlobalClient,
            "the client is the tenant's global client, which belongs to Auth0 itself, so its secret \
             must not be rotated. Delete this resource",
        ),
        ClientKind::MetadataDocument => (
            Reason::MetadataDocumentClient,
            "the client comes from a Client ID Metadata Document (external_metadata_type is cimd), so \
             it must not use a secret. Delete this resource",
        ),
    };
    Some(Rejection::new(reason, message))
}

/// Returns the doubt about a client that can be rotated, if there is one.
pub(super) fn doubt(client: &ClientInfo) -> Option<ClientDoubt> {
    match client.kind {
        ClientKind::Native => Some(ClientDoubt::Native),
        ClientKind::StrictThirdParty => Some(ClientDoubt::StrictThirdParty),
        _ => None,
    }
}
