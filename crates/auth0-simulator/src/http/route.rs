//! Routing of method and path to an operation.

use hyper::Method;
use percent_encoding::percent_decode_str;

use crate::{error::ApiError, operation::Operation};

/// Destination of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) operation: Operation,
    /// Decoded client id from the path, or the error of decoding it. `None` if the path has no id.
    pub(crate) client_id: Option<Result<String, ApiError>>,
}

/// Finds the operation. Decodes each path segment separately, so that an id can contain `%2F`.
pub(crate) fn route(method: &Method, path: &str) -> Route {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (operation, id) = match (method, segments.as_slice()) {
        (&Method::POST, ["oauth", "token"]) => (Operation::Token, None),
        (&Method::POST, ["oauth", "revoke"]) => (Operation::Revoke, None),
        (&Method::GET, ["api", "v2", "clients"]) => (Operation::ListClients, None),
        (&Method::POST, ["api", "v2", "clients"]) => (Operation::CreateClient, None),
        (&Method::GET, ["api", "v2", "clients", id]) => (Operation::GetClient, Some(*id)),
        (&Method::PATCH, ["api", "v2", "clients", id]) => (Operation::UpdateClient, Some(*id)),
        (&Method::DELETE, ["api", "v2", "clients", id]) => (Operation::DeleteClient, Some(*id)),
        (&Method::POST, ["api", "v2", "clients", id, "rotate-secret"]) => {
            (Operation::RotateSecret, Some(*id))
        }
        _ => (Operation::Unknown, None),
    };
    Route { operation, client_id: id.map(decode_id) }
}

fn decode_id(segment: &str) -> Result<String, ApiError> {
    match percent_decode_str(segment).decode_utf8() {
        Ok(id) if !id.is_empty() && has_valid_escapes(segment) => Ok(id.into_owned()),
        _ => Err(ApiError::invalid_uri("'The id is not percent-encoded UTF-8' on property id")),
    }
}

/// Returns whether every percent sign is followed by two hexadecimal digits.
fn has_valid_escapes(segment: &str) -> bool {
    segment.split('%').skip(1).all(|rest| match rest.as_bytes().get(..2) {
        Some(digits) => digits.iter().all(u8::is_ascii_hexdigit),
        None => false,
    })
}

/// Decodes the path for matching with the patterns of faults.
pub(crate) fn decoded_path(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &str) -> Option<Result<String, ApiError>> {
        route(&Method::GET, path).client_id
    }

    #[test]
    fn routes_every_operation() {
        for (method, path, operation) in [
            (Method::POST, "/oauth/token", Operation::Token),
            (Method::GET, "/oauth/token", Operation::Unknown),
            (Method::POST, "/oauth/revoke", Operation::Revoke),
            (Method::GET, "/api/v2/clients", Operation::ListClients),
            (Method::POST, "/api/v2/clients", Operation::CreateClient),
            (Method::GET, "/api/v2/clients/a", Operation::GetClient),
            (Method::PATCH, "/api/v2/clients/a", Operation::UpdateClient),
            (Method::DELETE, "/api/v2/clients/a", Operation::DeleteClient),
            (Method::POST, "/api/v2/clients/a/rotate-secret", Operation::RotateSecret),
            (Method::PUT, "/api/v2/clients/a", Operation::Unknown),
            (Method::GET, "/api/v2/clients/a/credentials", Operation::Unknown),
            (Method::GET, "/", Operation::Unknown),
        ] {
            assert_eq!(route(&method, path).operation, operation, "{method} {path}");
        }
    }

    #[test]
    fn decodes_ids() {
        assert_eq!(id("/api/v2/clients/a%2Fb%20c"), Some(Ok("a/b c".into())));
        assert_eq!(id("/api/v2/clients/tpc_%C3%BC"), Some(Ok("tpc_ü".into())));
        for bad in ["", "%", "%2", "%zz", "%ff"] {
            assert!(matches!(id(&format!("/api/v2/clients/{bad}")), Some(Err(_))), "{bad}");
        }
    }
}
