{{/* The name of the chart. */}}
{{- define "kube-devops.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The prefix of the names of all objects. The longest suffix has 20 characters. */}}
{{- define "kube-devops.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "kube-devops.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "kube-devops.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The labels that identify the pods of a component. Arguments: root, component. */}}
{{- define "kube-devops.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kube-devops.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/*
Several maps as one, as YAML. The last map with a key wins; other than with merge, this is also the case for an empty value.
Arguments: a list of maps, which can be null.
*/}}
{{- define "kube-devops.merged" -}}
{{- $merged := dict -}}
{{- range . -}}
{{- range $key, $value := . -}}
{{- $_ := set $merged $key $value -}}
{{- end -}}
{{- end -}}
{{- with $merged }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The labels of an object. Arguments: root, component, labels (a map of further ones). */}}
{{- define "kube-devops.labels" -}}
{{- $chart := dict "app.kubernetes.io/part-of" "kube-devops" "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_") -}}
{{- include "kube-devops.merged" (list $chart .root.Values.commonLabels .labels (include "kube-devops.selectorLabels" . | fromYaml)) -}}
{{- end -}}

{{/*
The labels of a pod. They do not change with the version, so that an upgrade with the same image replaces no pod.
Arguments: root, component, podLabels (a map of those of the component).
*/}}
{{- define "kube-devops.podLabels" -}}
{{- $chart := dict "app.kubernetes.io/part-of" "kube-devops" -}}
{{- include "kube-devops.merged" (list $chart .root.Values.commonLabels .root.Values.podLabels .podLabels (include "kube-devops.selectorLabels" . | fromYaml)) -}}
{{- end -}}

{{/* The annotations of an object, with the key "annotations", if there are any. */}}
{{- define "kube-devops.annotations" -}}
{{- with .Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The reference of the image. */}}
{{- define "kube-devops.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default (printf "v%s" .Chart.AppVersion) $image.tag }}{{ end -}}
{{- end -}}

{{/*
Fails if the repository contains a registry in addition to that of the chart: version 0.2 had no separate value for it. The path of a mirror may
start with the name of a registry, but never with a port.
*/}}
{{- define "kube-devops.registryInRepository" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry -}}
{{- $parts := splitList "/" .Values.image.repository -}}
{{- $host := first $parts -}}
{{- $isHost := or (contains ":" $host) (and (eq $registry "ghcr.io") (or (contains "." $host) (eq $host "localhost"))) -}}
{{- if and $registry $isHost (gt (len $parts) 1) -}}
{{- fail (printf "image.repository (%s) starts with a registry, and the image would be %s/%s: set image.registry=%s and image.repository=%s" .Values.image.repository $registry .Values.image.repository $host (rest $parts | join "/")) -}}
{{- end -}}
{{- end -}}

{{/*
Fails if the upgrade would delete the namespace of the release. The chart of version 0.2 contains the namespace, and Helm deletes what a new chart
does not contain. Its only ServiceAccount has the name of the release, and exists until that upgrade is complete. It is looked up first, because
Helm may not be allowed to read namespaces.
*/}}
{{- define "kube-devops.namespaceOfRelease" -}}
{{- $account := lookup "v1" "ServiceAccount" .Release.Namespace (include "kube-devops.fullname" .) -}}
{{- if and $account (eq (include "kube-devops.isOfRelease" (dict "root" . "object" $account)) "true") -}}
{{- $namespace := lookup "v1" "Namespace" "" .Release.Namespace -}}
{{- if and $namespace (eq (include "kube-devops.isOfRelease" (dict "root" . "object" $namespace)) "true") -}}
{{- if ne (get $namespace.metadata.annotations "helm.sh/resource-policy") "keep" -}}
{{- fail (printf "the installed chart contains the namespace %s, and the upgrade would delete it with everything in it. Run `kubectl annotate namespace %s helm.sh/resource-policy=keep` first, and see https://github.com/stochasticquant/kube-devops/blob/main/docs/from-0.2.md" .Release.Namespace .Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether an object of the cluster belongs to this release: true or false. Arguments: root, object. */}}
{{- define "kube-devops.isOfRelease" -}}
{{- $annotations := default (dict) .object.metadata.annotations -}}
{{- and (eq (get $annotations "meta.helm.sh/release-name") .root.Release.Name) (eq (get $annotations "meta.helm.sh/release-namespace") .root.Release.Namespace) -}}
{{- end -}}

{{/* The pull secrets of a pod, with their key. */}}
{{- define "kube-devops.imagePullSecrets" -}}
{{- $secrets := concat (default (list) .Values.global.imagePullSecrets) .Values.imagePullSecrets -}}
{{- if $secrets }}
imagePullSecrets:
  {{- range $secrets }}
  - name: {{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The name of the ServiceAccount of a component. Arguments: root, component. */}}
{{- define "kube-devops.serviceAccountName" -}}
{{- $account := (index .root.Values .component).serviceAccount -}}
{{- if $account.create -}}
{{- default (printf "%s-%s" (include "kube-devops.fullname" .root) .component) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{/* The number of replicas of a component. Arguments: root, component. */}}
{{- define "kube-devops.replicas" -}}
{{- $own := (index .root.Values .component).replicaCount -}}
{{- if kindIs "invalid" $own }}{{ .root.Values.replicaCount }}{{ else }}{{ $own }}{{ end -}}
{{- end -}}

{{/* A value of a component, or the value for all components, as YAML. Arguments: root, component, key. */}}
{{- define "kube-devops.value" -}}
{{- $own := index .root.Values .component .key -}}
{{- $value := ternary (index .root.Values .key) $own (kindIs "invalid" $own) -}}
{{- if $value }}{{ toYaml $value }}{{ end -}}
{{- end -}}

{{/* The name of the operator as a user of the API server. */}}
{{- define "kube-devops.operator" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "kube-devops.serviceAccountName" (dict "root" . "component" "reconcile") }}
{{- end -}}

{{/* The security context of a container. */}}
{{- define "kube-devops.securityContext" -}}
{{- toYaml .Values.securityContext -}}
{{- end -}}

{{/* What pods of hooks and tests have in common with those of the components. */}}
{{- define "kube-devops.jobPod" -}}
{{- include "kube-devops.imagePullSecrets" . }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Whether the custom resources of the Prometheus operator can be created; empty if not. */}}
{{- define "kube-devops.hasMonitoring" -}}
{{- if or .Values.monitoring.assumeInstalled (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1") }}true{{ end -}}
{{- end -}}
