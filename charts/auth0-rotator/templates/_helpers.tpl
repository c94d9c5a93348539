{{- define "auth0-rotator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of most objects: the release's name, followed by the chart's unless it contains that. */}}
{{- define "auth0-rotator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 57 | trimSuffix "-" }}
{{- else if contains (include "auth0-rotator.name" .) .Release.Name }}
{{- .Release.Name | trunc 57 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "auth0-rotator.name" .) | trunc 57 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that select the operator's Pods. They never change: a Deployment's selector is immutable. */}}
{{- define "auth0-rotator.selector" -}}
app.kubernetes.io/name: {{ include "auth0-rotator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "auth0-rotator.labels" -}}
{{ include "auth0-rotator.selector" . }}
{{ include "auth0-rotator.extraLabels" . }}
{{- end }}

{{- define "auth0-rotator.extraLabels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: auth0-rotator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Metadata of an object: (list $ name namespace), with an empty namespace for a cluster-scoped one. */}}
{{- define "auth0-rotator.metadata" -}}
{{- $ := index . 0 -}}
name: {{ index . 1 }}
{{- with index . 2 }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "auth0-rotator.labels" $ | nindent 2 }}
{{- with $.Values.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "auth0-rotator.serviceAccount" -}}
{{- if .Values.serviceAccount.name }}
{{- .Values.serviceAccount.name }}
{{- else if .Values.serviceAccount.create }}
{{- include "auth0-rotator.fullname" . }}
{{- else }}
{{- fail "serviceAccount.create is false: set serviceAccount.name to an existing service account, for example --set serviceAccount.name=rotator" }}
{{- end }}
{{- end }}

{{/* The digest takes precedence over the tag, because it identifies exactly one image. */}}
{{- define "auth0-rotator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Pod security context that meets the Pod Security Standard "restricted". */}}
{{- define "auth0-rotator.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Container security context that meets the same standard, with a read-only root file system. */}}
{{- define "auth0-rotator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/*
Namespaces in which the operator may use Secrets, as JSON; an empty list means all. With
`scope: namespaced` these are the namespaces that it manages.
*/}}
{{- define "auth0-rotator.namespaces" -}}
{{- if eq .Values.scope "cluster" }}
{{- list | toJson }}
{{- else }}
{{- .Values.namespaces | default (list .Release.Namespace) | toJson }}
{{- end }}
{{- end }}

{{/* Namespaces to which a binding of an admission policy is limited; nothing if it applies to all. */}}
{{- define "auth0-rotator.policyNamespaces" -}}
{{- if eq .Values.scope "namespaced" -}}
matchResources:
  namespaceSelector:
    matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values: {{ include "auth0-rotator.namespaces" . }}
{{- end }}
{{- end }}

{{/* ClusterRole that a RoleBinding grants in a namespace that opts in with `scope: selected`. */}}
{{- define "auth0-rotator.accessRole" -}}auth0-rotator-namespace-access{{ include "auth0-rotator.shardSuffix" . }}{{- end }}

{{/* Not empty if the operator serves ClusterAuth0Tenants. */}}
{{- define "auth0-rotator.clusterTenants" -}}
{{- if or (ne .Values.scope "namespaced") .Values.clusterTenants }}true{{ end }}
{{- end }}

{{/* Not empty if the API server checks who reads the metrics. */}}
{{- define "auth0-rotator.metricsAuth" -}}
{{- if kindIs "bool" .Values.metrics.auth }}
{{- if .Values.metrics.auth }}true{{ end }}
{{- else if ne .Values.scope "namespaced" }}true{{ end }}
{{- end }}
