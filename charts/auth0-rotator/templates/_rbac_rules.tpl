{{/*
Rules of the operator, which grant exactly the permissions that it uses: (dict "root" $ "grants" list).
The list has any of:
- "resources": the resources of a namespace
- "cluster": ClusterAuth0Tenants, and the labels of namespaces
- "access": Secrets, workloads, Pods and Events
*/}}
{{- define "auth0-rotator.rbacRules" -}}
{{- $values := .root.Values -}}
{{- $cluster := has "cluster" .grants -}}
{{- if has "resources" .grants }}
# ClientSecretRotations are watched, and patched to add a finalizer while a response of rotate-secret
# may be outstanding.
- apiGroups: [auth0-rotator.dev]
  resources: [clientsecretrotations]
  verbs: [get, list, watch, patch]
- apiGroups: [auth0-rotator.dev]
  resources: [auth0tenants{{ if $cluster }}, clusterauth0tenants{{ end }}]
  verbs: [get, list, watch]
- apiGroups: [auth0-rotator.dev]
  resources: [clientsecretrotations/status, auth0tenants/status{{ if $cluster }}, clusterauth0tenants/status{{ end }}]
  verbs: [update]
{{- else if $cluster }}
- apiGroups: [auth0-rotator.dev]
  resources: [clusterauth0tenants]
  verbs: [get, list, watch]
- apiGroups: [auth0-rotator.dev]
  resources: [clusterauth0tenants/status]
  verbs: [update]
{{- end }}
{{- if $cluster }}
# A ClusterAuth0Tenant allows clients to namespaces by their labels.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end }}
{{- if has "access" .grants }}
# Target Secrets are read, created and applied by name, and those with the operator's label are
# watched as metadata. Credentials Secrets are read by name; while Auth0 rejects one, or it is
# unusable, the operator watches its metadata for the correction.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
{{- if $values.restarts.enabled }}
# Workloads in spec.consumers.restart are restarted the way `kubectl rollout restart` does it, and
# watched until their rollout is complete.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [get, list, watch, patch]
{{- if $values.restarts.argoRollouts }}
- apiGroups: [argoproj.io]
  resources: [rollouts]
  verbs: [get, list, watch, patch]
{{- end }}
{{- end }}
{{- if $values.podDetection.enabled }}
# Pods are listed to report those that never see the new secret, and to find those that a restart has
# not replaced yet.
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
{{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
{{- end }}

{{/*
Rules for the credentials of ClusterAuth0Tenants, in the operator's own namespace: the Secrets are
read by name, and watched while one is unusable.
*/}}
{{- define "auth0-rotator.credentialsRules" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch]
{{- end }}

{{/* Rules to check who reads the metrics. */}}
{{- define "auth0-rotator.metricsAuthRules" -}}
# The API server authenticates and authorizes the readers of the metrics.
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}

{{/* Rules for leader election, in the operator's own namespace. */}}
{{- define "auth0-rotator.leaseRules" -}}
# The Lease for leader election. RBAC can't restrict create to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "auth0-rotator.fullname" . }}]
  verbs: [get, update]
{{- end }}
