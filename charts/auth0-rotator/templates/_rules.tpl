{{/*
What the operator may do: exactly what it uses. It is the same in the whole cluster and in one
namespace, except for what only a cluster has: "cluster" is true or false.
*/}}
{{- define "auth0-rotator.rules" -}}
{{- $cluster := .cluster -}}
# The resources: watched, marked while an answer of rotate-secret may be outstanding.
- apiGroups: [auth0-rotator.dev]
  resources: [clientsecretrotations]
  verbs: [get, list, watch, patch]
- apiGroups: [auth0-rotator.dev]
  resources: [auth0tenants{{ if $cluster }}, clusterauth0tenants{{ end }}]
  verbs: [get, list, watch]
- apiGroups: [auth0-rotator.dev]
  resources: [clientsecretrotations/status, auth0tenants/status{{ if $cluster }}, clusterauth0tenants/status{{ end }}]
  verbs: [update]
{{- if $cluster }}
# The labels of namespaces, by which a ClusterAuth0Tenant allows them clients.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get, list, watch]
{{- end }}
# Target Secrets are read, created and applied by name; those with our label are watched, as
# metadata. Credentials Secrets are read by name; one that Auth0 refuses, or that can't be used, is
# watched, as metadata, until it is corrected.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
# Workloads of spec.consumers.restart are stamped as kubectl rollout restart does, and watched until
# their rollout is done. Pods are listed when a rotation starts, to name those that it won't reach.
- apiGroups: [apps]
  resources: [deployments, statefulsets, daemonsets]
  verbs: [get, list, watch, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* What replicas need to agree on one that acts, in the operator's own namespace. */}}
{{- define "auth0-rotator.leaseRules" -}}
# The Lease by which replicas agree on one that acts. Creating can't be limited to a name.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "auth0-rotator.fullname" . }}]
  verbs: [get, update]
{{- end }}
