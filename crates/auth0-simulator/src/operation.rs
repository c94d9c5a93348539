//! Operations of Auth0 that the simulator serves, and their names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One operation. Its name, for example `clients.rotate_secret`, identifies it in faults, counters
/// and the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `POST /oauth/token`, `token`.
    Token,
    /// `POST /oauth/revoke`, `revoke`.
    Revoke,
    /// `GET /api/v2/clients`, `clients.list`.
    ListClients,
    /// `GET /api/v2/clients/{id}`, `clients.get`.
    GetClient,
    /// `POST /api/v2/clients`, `clients.create`.
    CreateClient,
    /// `PATCH /api/v2/clients/{id}`, `clients.update`.
    UpdateClient,
    /// `DELETE /api/v2/clients/{id}`, `clients.delete`.
    DeleteClient,
    /// `POST /api/v2/clients/{id}/rotate-secret`, `clients.rotate_secret`.
    RotateSecret,
    /// Any other request, `unknown`. The response is 404.
    Unknown,
    /// A change at the dashboard, made through the library or the admin interface, `dashboard`. It
    /// only appears in the audit log.
    Dashboard,
}

impl Operation {
    /// All operations.
    pub const ALL: [Self; 10] = [
        Self::Token,
        Self::Revoke,
        Self::ListClients,
        Self::GetClient,
        Self::CreateClient,
        Self::UpdateClient,
        Self::DeleteClient,
        Self::RotateSecret,
        Self::Unknown,
        Self::Dashboard,
    ];

    /// Returns the operation's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoke => "revoke",
            Self::ListClients => "clients.list",
            Self::GetClient => "clients.get",
            Self::CreateClient => "clients.create",
            Self::UpdateClient => "clients.update",
            Self::DeleteClient => "clients.delete",
            Self::RotateSecret => "clients.rotate_secret",
            Self::Unknown => "unknown",
            Self::Dashboard => "dashboard",
        }
    }

    /// Returns whether the operation belongs to the Management API, which requires a bearer token
    /// and is rate limited.
    pub(crate) fn is_management(self) -> bool {
        self.as_str().starts_with("clients.")
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Operation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|operation| operation.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|operation| operation.as_str()).collect();
            format!("unknown operation {text:?}: use one of {}", known.join(", "))
        })
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_every_operation_from_its_name() {
        for operation in Operation::ALL {
            assert_eq!(operation.as_str().parse(), Ok(operation));
        }
        let error = "clients.rotate".parse::<Operation>().unwrap_err();
        assert!(error.contains("clients.rotate_secret"), "{error}");
    }
}
