{{/*
Rejects a second operator for the same namespace: the two would reconcile the same resources. Every
operator has a Role or ClusterRole with the same fixed name in the namespaces that it manages, so a
role that another release owns shows another operator. Helm would reject the role as well, but its
error doesn't say what to do. The roles of a shard have a suffix for its label selector: releases with
different selectors can be installed side by side, and a release without one next to none of them.
*/}}

{{/* Suffix of the names of roles; empty without a label selector. */}}
{{- define "auth0-rotator.shardSuffix" -}}
{{- with .Values.watchLabelSelector }}-shard-{{ sha256sum . | trunc 8 }}{{ end }}
{{- end }}

{{/*
Owner of an existing object if that is not this release, else empty: (list $ object). The object is
the result of lookup, which is empty if there is none.
*/}}
{{- define "auth0-rotator.otherOwner" -}}
{{- $ := index . 0 -}}
{{- with index . 1 }}
{{- $annotations := .metadata.annotations | default dict }}
{{- $name := get $annotations "meta.helm.sh/release-name" }}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" }}
{{- if not $name -}}
no Helm release
{{- else if or (ne $name $.Release.Name) (ne $namespace $.Release.Namespace) -}}
the release {{ $name }} in the namespace {{ $namespace }}
{{- end }}
{{- end }}
{{- end }}

{{- define "auth0-rotator.role" -}}auth0-rotator{{ include "auth0-rotator.shardSuffix" . }}{{- end }}

{{/* ClusterRole that a namespaced operator has for ClusterAuth0Tenants. */}}
{{- define "auth0-rotator.clusterTenantsRole" -}}auth0-rotator-cluster-tenants{{ include "auth0-rotator.shardSuffix" . }}{{- end }}

{{/* Not empty if a role of this name shows an operator that must not run next to this one: (list $ name). */}}
{{- define "auth0-rotator.isRival" -}}
{{- $ := index . 0 -}}
{{- $name := index . 1 -}}
{{- if has $name (list "auth0-rotator" (include "auth0-rotator.role" $)) -}}
true
{{- else if and (not $.Values.watchLabelSelector) (hasPrefix "auth0-rotator-shard-" $name) -}}
true
{{- end }}
{{- end }}

{{- define "auth0-rotator.rejectSecondOperator" -}}
{{- $apiVersion := "rbac.authorization.k8s.io/v1" }}
{{- $hint := "To divide the resources between several operators, give each release a watchLabelSelector of its own, and the one without a shard !auth0-rotator.dev/shard: see docs/sharding.md." }}
{{- $clusterRoles := list }}
{{/* A user who may not install cluster-scoped objects may not be allowed to read them either. */}}
{{- if or (ne .Values.scope "namespaced") .Values.crds.install }}
{{- $clusterRoles = (lookup $apiVersion "ClusterRole" "" "").items }}
{{- end }}
{{- range $clusterRoles }}
{{- if include "auth0-rotator.isRival" (list $ .metadata.name) }}
{{- $role := .metadata.name }}
{{- with include "auth0-rotator.otherOwner" (list $ .) }}
{{- fail (printf "A cluster-wide operator is already installed: the ClusterRole %s belongs to %s. Two operators must not manage the same resources. Upgrade or uninstall that operator. A namespaced operator can be installed only where no cluster-wide operator runs. %s" $role . $hint) }}
{{- end }}
{{- end }}
{{- end }}
{{- if ne .Values.scope "namespaced" }}
{{- range (lookup $apiVersion "Role" "" "").items }}
{{- if include "auth0-rotator.isRival" (list $ .metadata.name) }}
{{- $namespace := .metadata.namespace }}
{{- $role := .metadata.name }}
{{- with include "auth0-rotator.otherOwner" (list $ .) }}
{{- fail (printf "An operator already manages the namespace %s: its Role %s belongs to %s. A cluster-wide operator would manage the same resources. Uninstall that operator first, or install this one with scope=namespaced for other namespaces. %s" $namespace $role . $hint) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- if include "auth0-rotator.clusterTenants" . }}
{{- $tenants := include "auth0-rotator.clusterTenantsRole" . }}
{{- with include "auth0-rotator.otherOwner" (list . (lookup $apiVersion "ClusterRole" "" $tenants)) }}
{{- fail (printf "An operator already serves ClusterAuth0Tenants: the ClusterRole %s belongs to %s. Two operators must not write the status of the same tenants. Install this one with scope=namespaced and clusterTenants=false." $tenants .) }}
{{- end }}
{{- end }}
{{- range include "auth0-rotator.namespaces" . | fromJsonArray }}
{{- $namespace := . }}
{{- range (lookup $apiVersion "Role" . "").items }}
{{- if include "auth0-rotator.isRival" (list $ .metadata.name) }}
{{- $role := .metadata.name }}
{{- with include "auth0-rotator.otherOwner" (list $ .) }}
{{- fail (printf "An operator already manages the namespace %s: its Role %s belongs to %s. Two operators must not manage the same resources. Upgrade or uninstall that operator, or remove %s from namespaces. %s" $namespace $role . $namespace $hint) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
