//! Cause of a denied request to the API server.
//!
//! The API server's status has a code and a reason, which are the same for RBAC, quotas and admission
//! control. Only its message distinguishes them. The result is for messages: it never decides what
//! happens next.

use std::fmt;

use kube::core::Status;

/// Longest name of a webhook or a policy that a message contains, in characters.
const NAME_LIMIT: usize = 100;

/// Component that denied a request, or reason why it could not be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// RBAC, or another authorizer.
    Authorization,
    /// The admission plugin OwnerReferencesPermissionEnforcement.
    OwnerReference,
    /// A ResourceQuota.
    Quota,
    /// A ValidatingAdmissionPolicy.
    Policy(Name),
    /// An admission webhook, which responded.
    Webhook(Name),
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The object is larger than the API server accepts.
    TooLarge,
    /// Admission control of another kind, or validation.
    Other,
}

/// The name of a cluster-scoped object, with a space before it, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name(String);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Denial {
    /// Reads a status of the class 4xx.
    pub(crate) fn of(status: &Status) -> Self {
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let has_cause = |reason: &str| causes.clone().any(|cause| cause.reason == reason);
        if has_cause("NamespaceTerminating") {
            return Self::NamespaceTerminating;
        }
        if status.code == 413 || has_cause("FieldValueTooLong") {
            return Self::TooLarge;
        }
        let message = status.message.as_str();
        if let Some(rest) = message.strip_prefix("admission webhook \"") {
            return Self::Webhook(name_before(rest, '"'));
        }
        // The name before this is that of the object, which contains no space.
        let Some((_, denied)) = message.split_once(" is forbidden: ") else { return Self::Other };
        if denied.starts_with("User \"") {
            Self::Authorization
        } else if ["exceeded quota:", "failed quota:", "status unknown for quota:"]
            .iter()
            .any(|start| denied.starts_with(start))
        {
            Self::Quota
        } else if denied.starts_with("cannot set an ownerRef on a resource you can't delete")
            || denied.starts_with("cannot set blockOwnerDeletion")
        {
            Self::OwnerReference
        } else if let Some(rest) = denied.strip_prefix("ValidatingAdmissionPolicy '") {
            Self::Policy(name_before(rest, '\''))
        } else {
            Self::Other
        }
    }

    /// Returns who denied the request, as the subject of a sentence.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Authorization => "RBAC".to_owned(),
            Self::OwnerReference => {
                "the admission plugin OwnerReferencesPermissionEnforcement".to_owned()
            }
            Self::Quota => "a ResourceQuota".to_owned(),
            Self::Policy(name) => format!("the ValidatingAdmissionPolicy{name}"),
            Self::Webhook(name) => format!("the admission webhook{name}"),
            Self::NamespaceTerminating => "the namespace, which is being deleted,".to_owned(),
            Self::TooLarge => "the API server's limit of size".to_owned(),
            Self::Other => "the API server".to_owned(),
        }
    }
}

/// Returns the name of the webhook that the API server could not call, if that is why a request failed
/// with a status of the class 5xx.
pub(crate) fn unavailable_webhook(status: &Status) -> Option<Name> {
    let failed = "Internal error occurred: failed calling webhook \"";
    status.message.strip_prefix(failed).map(|rest| name_before(rest, '"'))
}

/// Returns the name before a quotation mark, unless it isn't one.
fn name_before(text: &str, quote: char) -> Name {
    let name = text.split(quote).next().unwrap_or_default();
    let is_name = |character: char| character.is_ascii_alphanumeric() || ".-_:".contains(character);
    if name.is_empty() || name.len() > NAME_LIMIT || !name.chars().all(is_name) {
        return Name::default();
    }
    Name(format!(" {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(code: u16, message: &str) -> Status {
        serde_json::from_value(json!({ "code": code, "message": message })).unwrap()
    }

    fn denial(message: &str) -> Denial {
        Denial::of(&status(403, message))
    }

    fn name(text: &str) -> Name {
        Name(format!(" {text}"))
    }

    #[test]
    fn tells_denials_apart() {
        let rbac = "secrets \"a\" is forbidden: User \"system:serviceaccount:a:b\" cannot get";
        assert_eq!(denial(rbac), Denial::Authorization);
        let quota = "secrets \"a\" is forbidden: exceeded quota: q, requested: count/secrets=1";
        assert_eq!(denial(quota), Denial::Quota);
        let policy =
            "secrets \"a\" is forbidden: ValidatingAdmissionPolicy 'p.b' with binding 'c' denied";
        assert_eq!(denial(policy), Denial::Policy(name("p.b")));
        let webhook = "admission webhook \"validation.gatekeeper.sh\" denied the request: no";
        assert_eq!(denial(webhook), Denial::Webhook(name("validation.gatekeeper.sh")));
        let owner = "secrets \"a\" is forbidden: cannot set an ownerRef on a resource you can't \
                     delete: RBAC: …";
        assert_eq!(denial(owner), Denial::OwnerReference);
        assert_eq!(denial("something else"), Denial::Other);
        assert_eq!(Denial::of(&status(413, "")), Denial::TooLarge);
    }

    #[test]
    fn reads_the_causes_of_a_status() {
        let with_cause = |reason: &str| {
            let details = json!({ "causes": [{ "reason": reason, "field": "data" }] });
            serde_json::from_value::<Status>(json!({ "code": 422, "details": details })).unwrap()
        };
        assert_eq!(Denial::of(&with_cause("FieldValueTooLong")), Denial::TooLarge);
        let terminating = with_cause("NamespaceTerminating");
        assert_eq!(Denial::of(&terminating), Denial::NamespaceTerminating);
    }

    #[test]
    fn names_the_webhook_that_can_not_be_called() {
        let failed = "Internal error occurred: failed calling webhook \"a.example.com\": failed to \
                      call webhook";
        assert_eq!(unavailable_webhook(&status(500, failed)), Some(name("a.example.com")));
        assert_eq!(unavailable_webhook(&status(500, "Internal error occurred: x")), None);
    }

    #[test]
    fn quotes_nothing_that_is_not_a_name() {
        let text = "admission webhook \"a secret value\" denied the request: no";
        assert_eq!(denial(text), Denial::Webhook(Name::default()));
        let long = format!("admission webhook \"{}\" denied", "a".repeat(200));
        assert_eq!(denial(&long), Denial::Webhook(Name::default()));
    }
}
