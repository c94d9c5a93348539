{{/*
Two operators must not work in one namespace: they would not know of each other. Each has a role of
a name that is always the same, in the cluster or in each namespace; one that isn't this release's is
another operator's. Helm would refuse it, too, but without saying what to do.
*/}}

{{/* Whose an object is, when it is there and not this release's: (list $ object). */}}
{{- define "auth0-rotator.otherOwner" -}}
{{- $ := index . 0 -}}
{{- with index . 1 }}
{{- $annotations := .metadata.annotations | default dict }}
{{- $name := get $annotations "meta.helm.sh/release-name" }}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" }}
{{- if not $name -}}
no release of Helm
{{- else if or (ne $name $.Release.Name) (ne $namespace $.Release.Namespace) -}}
the release {{ $name }} in the namespace {{ $namespace }}
{{- end }}
{{- end }}
{{- end }}

{{- define "auth0-rotator.role" -}}auth0-rotator{{- end }}

{{- define "auth0-rotator.refuseSecond" -}}
{{- $role := include "auth0-rotator.role" . }}
{{- $group := "rbac.authorization.k8s.io/v1" }}
{{- $cluster := dict }}
{{/* Who may not install what is cluster-wide may not look at it either. */}}
{{- if or (eq .Values.scope "cluster") .Values.crds.install }}
{{- $cluster = lookup $group "ClusterRole" "" $role }}
{{- end }}
{{- with include "auth0-rotator.otherOwner" (list . $cluster) }}
{{- fail (printf "An operator for the whole cluster is there already: the ClusterRole %s belongs to %s. Two of them must not work on the same resources. Upgrade or uninstall that one; an operator for some namespaces can only be installed where none works for all." $role .) }}
{{- end }}
{{- if eq .Values.scope "cluster" }}
{{- range (lookup $group "Role" "" "").items }}
{{- if eq .metadata.name $role }}
{{- $namespace := .metadata.namespace }}
{{- with include "auth0-rotator.otherOwner" (list $ .) }}
{{- fail (printf "An operator works in the namespace %s already: its Role %s belongs to %s. One for the whole cluster would work on the same resources. Uninstall that one first, or install this one with scope=namespaced elsewhere." $namespace $role .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range include "auth0-rotator.namespaces" . | fromJsonArray }}
{{- $namespace := . }}
{{- with include "auth0-rotator.otherOwner" (list $ (lookup $group "Role" . $role)) }}
{{- fail (printf "An operator works in the namespace %s already: its Role %s belongs to %s. Two of them must not work on the same resources. Upgrade or uninstall that one, or leave %s out of namespaces." $namespace $role . $namespace) }}
{{- end }}
{{- end }}
{{- end }}
