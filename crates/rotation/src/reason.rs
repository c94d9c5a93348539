//! Machine-readable reasons in conditions, Events, logs and metric labels.

use std::fmt;

/// Declares [`Reason`] with its documentation, so that the table in the user documentation is
/// generated from the same lines.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Why a condition has its status, why an Event was published, or why a step failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(clippy::upper_case_acronyms, reason = "HS256 is the name of the algorithm")]
        pub enum Reason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reason {
            /// All reasons, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the reason as it appears in a condition or an Event.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// Returns the one-line description of the reason in Markdown.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc,)+).trim(),)+
                }
            }
        }
    };
}

reasons! {
    /// The target Secret holds the client's secret.
    Published,
    /// The target Secret holds no secret yet.
    NotPublished,
    /// Auth0 still rejects the published secret although its propagation window is over.
    NotConfirmed,
    /// Auth0 has a new secret that the operator could not publish yet, so applications can't log in.
    ResultUnpublished,
    /// It is unknown whether Auth0 has changed the secret, although its propagation window is over.
    OutcomeUnknown,
    /// `Ready` turned false; the message has the reason.
    NotReady,
    /// No rotation is in progress.
    Idle,
    /// Nothing requires user action.
    Progressing,
    /// Nothing happens until a user acts; the message says how.
    Stalled,
    /// `spec.suspend` is true: no rotation starts.
    Suspended,
    /// A rotation started.
    Started,
    /// The next secret is published; consumers get time to read it.
    Staging,
    /// The secret is being changed at Auth0.
    Activating,
    /// The new secret is published; the operator waits until Auth0 accepts it.
    Confirming,
    /// Auth0 accepts the new secret; the previous one stays as a fallback.
    Grace,
    /// The next secret is being removed from the target Secret without activation.
    Withdrawing,
    /// A workload is not ready for the next secret: it cannot be restarted, or its rollout takes
    /// longer than `spec.consumers.rolloutTimeout`.
    RolloutInProgress,
    /// A workload of `spec.consumers.restart` does not exist or cannot be restarted.
    RestartBlocked,
    /// Another party takes back the operator's restarts of a workload; the operator restarts it again
    /// only after a hold-off.
    RestartReverted,
    /// Updates of the target Secret reach every Pod that uses it, directly or by a restart.
    Reached,
    /// Pods use the target Secret in a way that is never updated, and no restart covers them.
    PodsNeverUpdated,
    /// The operator runs without Pod detection, so it does not know whether updates reach all Pods.
    PodDetectionDisabled,
    /// The operator may not list Pods, so it does not know whether updates reach them.
    PodsNotListed,
    /// The client signs ID tokens with its secret.
    HS256,
    /// The client signs ID tokens with another algorithm than HS256.
    OtherAlgorithm,
    /// The client signs ID tokens with its secret, so applications that validate them need the new
    /// secret at once.
    SignsWithSecret,
    /// A probe does not show whether Auth0 accepts the client's secret.
    ProbeInconclusive,
    /// Auth0 accepts any value where the operator probes secrets, so a probe proves nothing.
    AnySecretAccepted,
    /// Auth0 answers no probes (status 403, or a long rate limit of the client), so only `revoke` and
    /// `rollback` change the secret.
    ProbeBlocked,
    /// Auth0 rejects a random value, so a probe is a proof.
    ProbeConclusive,
    /// The operator asks Auth0 about a revoked secret until Auth0 rejects it.
    Probing,
    /// Auth0 rejects the secret that was revoked.
    RevokedSecretRejected,
    /// Auth0 still accepts a revoked secret although the propagation window is over.
    RevokedSecretAccepted,

    /// The client's existing secret was published without a rotation.
    Imported,
    /// The next secret was published as a fallback.
    Staged,
    /// Auth0 has the new secret, and it is published.
    Activated,
    /// Auth0 accepts the new secret.
    Confirmed,
    /// A rotation is complete: the previous secret was removed.
    Retired,
    /// A rotation was withdrawn on request before activation.
    Aborted,
    /// A rotation was withdrawn because Auth0 or a policy rejected it.
    RotationRejected,
    /// Another change of the secret superseded a rotation.
    Superseded,
    /// Another party changed the secret at Auth0.
    Drift,
    /// Another party rotates the client again and again, such as an operator in another cluster; the
    /// operator follows the next change only after a hold-off.
    DriftRecurs,
    /// Rotation state was lost; the rotation was resumed from the target Secret.
    Recovered,
    /// The response of `rotate-secret` was lost, so the rotation continues with strategy Staged.
    SwitchedToStaged,
    /// The request annotation was not carried out; the message says why.
    RequestRejected,
    /// The request annotation was carried out, or the rotation that it asked for has started.
    RequestHandled,
    /// The request annotation waits; the message says why.
    RequestPending,

    /// The request annotation is malformed.
    InvalidRequest,
    /// `spec.schedule` is invalid.
    InvalidSchedule,
    /// An entry of `spec.windows` is invalid.
    InvalidWindow,
    /// `spec.target.template` has a template that cannot be rendered.
    InvalidTemplate,
    /// `spec.gracePeriod` is shorter than Auth0's propagation window.
    GracePeriodTooShort,
    /// The schedule can fire before the previous rotation ends.
    ScheduleTooTight,
    /// `spec.consumers.restart` names workloads, and the operator may not restart any.
    RestartsDisabled,
    /// A name in the spec cannot be part of a URL.
    InvalidName,

    /// The client authenticates with its secret.
    UsesSecret,
    /// The client is public: it has no secret to rotate.
    PublicClient,
    /// The client authenticates with keys: it has no secret to rotate.
    ClientUsesKeys,
    /// The client is the tenant's global client, which must not be rotated.
    GlobalClient,
    /// The client comes from a Client ID Metadata Document: it must not use a secret.
    MetadataDocumentClient,
    /// The client is a native application without a confidential authentication method, so it may not
    /// use its secret. A warning.
    NativeClient,
    /// The client is a third-party client in strict mode, for which Auth0 may reject a secret that the
    /// strategy Staged sets. A warning.
    StrictThirdParty,
    /// Auth0 has no client with this ID.
    ClientNotFound,
    /// Another ClientSecretRotation rotates this client.
    ClientClaimed,
    /// The operator authenticates with this client: only its credentials Secret can be the target.
    ManagementClient,
    /// The ClusterAuth0Tenant does not allow this namespace to use this client.
    NotAllowed,

    /// Another ClientSecretRotation has this target Secret.
    TargetClaimed,
    /// The target Secret exists and was not created for this resource.
    TargetNotOwned,
    /// The target Secret is immutable.
    TargetImmutable,
    /// The target Secret has a type other than `Opaque`.
    TargetNotOpaque,
    /// The operator would overwrite a key of the target Secret that has content of another party.
    TargetKeyTaken,
    /// `deletionPolicy: Delete` needs a target Secret that the operator created.
    TargetNotDeletable,
    /// A label or annotation of `spec.target` is not on the operator's list `--allowed-metadata`.
    MetadataNotAllowed,
    /// The values in the target Secret came from another Auth0 endpoint than the tenant's, so they
    /// are neither sent nor published.
    OriginChanged,
    /// Another party keeps changing the target Secret; the operator restores it after a hold-off.
    TargetContested,
    /// Another party keeps overwriting the status of the resource.
    StatusContested,
    /// Another party keeps removing the finalizer of the resource.
    FinalizerContested,
    /// No other party keeps changing what the operator writes anymore.
    InSync,
    /// The target Secret is the credentials Secret of a tenant.
    CredentialsTarget,
    /// The API server does not let the operator read or write the target Secret.
    SecretForbidden,
    /// The API server rejected the target Secret.
    SecretRejected,
    /// The cluster does not let the operator change the owner reference of the target Secret.
    OwnerReferenceForbidden,
    /// Auth0 has a client secret that cannot be published: it has control characters, is too long, or
    /// is no text.
    SecretUnpublishable,
    /// No secret can be published: Auth0 does not return it, or the target Secret cannot be parsed.
    SecretUnreadable,

    /// The operator can use the tenant.
    Usable,
    /// The operator can use the tenant, but its token lacks scopes for some features.
    PartiallyUsable,
    /// Auth0 responds.
    Responding,
    /// Auth0 issued a Management API token.
    TokenGranted,
    /// The tenant does not exist or cannot be read.
    TenantMissing,
    /// The operator that manages the resource does not manage its tenant.
    TenantInOtherShard,
    /// The tenant's own `Ready` condition is false.
    TenantNotReady,
    /// The tenant's spec is invalid.
    InvalidTenant,
    /// The operator may not call the tenant's endpoint.
    EndpointNotAllowed,
    /// The tenant's token lacks a scope.
    MissingScope,
    /// The tenant's credentials Secret is missing or malformed.
    CredentialsUnreadable,
    /// Auth0 rejects the tenant's credentials.
    CredentialsRejected,
    /// Auth0 issues no Management API token to the tenant's management client.
    TokenForbidden,
    /// Auth0 rejected a Management API token that has not expired.
    TokenRejected,
    /// No Management API token could be fetched.
    TokenUnavailable,

    /// No connection to Auth0 could be made.
    Unreachable,
    /// Auth0 did not respond in time, or its response was cut off.
    NoResponse,
    /// Auth0 responded with a server error.
    Unavailable,
    /// Auth0's response is not one that it documents.
    InvalidResponse,
    /// A rate limit of Auth0 or of `spec.rateLimit` is used up.
    Throttled,
    /// Auth0 limits or blocks the requests of this client to the Authentication API.
    ClientThrottled,
    /// The token quota or another limit of the tenant's management client is used up.
    TokenThrottled,
    /// The deadline passed before the call to Auth0 could be sent.
    DeadlinePassed,
    /// Auth0 does not take the new value as a client secret.
    ValueRejected,
    /// Auth0 does not let the operator change the client's secret.
    ChangeRejected,
    /// Auth0 rejected the request.
    Rejected,

    /// A call to the API server failed.
    KubernetesError,
    /// The installed CustomResourceDefinition is older than the operator.
    CrdOutdated,
    /// The resource caused more writes to the API server than the operator makes per hour.
    WriteLimited,
    /// An object changed between read and write; the operator retries at once.
    Conflict,
    /// The operator is shutting down.
    Stopping,
    /// This replica is not the leader.
    NotLeading,
}

impl Reason {
    /// Returns whether the client at Auth0 is one that must not be rotated.
    pub const fn forbids_client(self) -> bool {
        matches!(
            self,
            Self::PublicClient
                | Self::ClientUsesKeys
                | Self::GlobalClient
                | Self::MetadataDocumentClient
                | Self::ClientNotFound
        )
    }

    /// Returns the reason that a condition carries, if this version knows it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_parses_back_and_has_a_one_line_description() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason));
            let description = reason.description();
            assert!(description.ends_with('.') && !description.contains('\n'), "{reason}");
        }
        assert_eq!(Reason::parse("Unknown"), None);
    }
}
