{{/*
A Job that runs the program in a hook, with its own ServiceAccount and roles.
Arguments: root, component, hook, purpose, args (a list), clusterRules, rules (YAML).
*/}}
{{- define "kube-devops.hookMetadata" -}}
namespace: {{ .root.Release.Namespace }}
{{ include "kube-devops.hookMetadataOfCluster" . }}
{{- end -}}

{{- define "kube-devops.hookMetadataOfCluster" -}}
name: {{ include "kube-devops.fullname" .root }}-{{ .component }}
labels:
  {{- include "kube-devops.labels" . | nindent 2 }}
annotations:
  {{- $hook := dict "helm.sh/hook" .hook "helm.sh/hook-weight" .weight "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" }}
  {{- /* The pod is deleted with its log. */}}
  {{- if .outputLog }}
  {{- $_ := set $hook "helm.sh/hook-output-log-policy" "hook-succeeded,hook-failed" }}
  {{- end }}
  {{- include "kube-devops.merged" (list .root.Values.commonAnnotations $hook) | nindent 2 }}
{{- end -}}

{{- define "kube-devops.hookAccount" -}}
{{- $first := merge (dict "weight" "-10") . -}}
{{- $name := printf "%s-%s" (include "kube-devops.fullname" .root) .component -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "kube-devops.hookMetadata" $first | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  {{- include "kube-devops.hookMetadataOfCluster" $first | nindent 2 }}
rules:
  {{- .clusterRules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  {{- include "kube-devops.hookMetadataOfCluster" $first | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ .root.Release.Namespace }}
{{- with .rules }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "kube-devops.hookMetadata" $first | nindent 2 }}
rules:
  {{- . | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "kube-devops.hookMetadata" $first | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $name }}
    namespace: {{ $.root.Release.Namespace }}
{{- end }}
{{- end -}}

{{- define "kube-devops.hookPod" -}}
serviceAccountName: {{ include "kube-devops.fullname" .root }}-{{ .component }}
restartPolicy: {{ .restartPolicy }}
{{- include "kube-devops.jobPod" .root }}
containers:
  - name: {{ .component }}
    image: {{ include "kube-devops.image" .root }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args:
      {{- toYaml .args | nindent 6 }}
    env:
      - name: POD_NAMESPACE
        valueFrom:
          fieldRef:
            fieldPath: metadata.namespace
      {{- with .root.Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml .root.Values.resources | nindent 6 }}
    securityContext:
      {{- include "kube-devops.securityContext" .root | nindent 6 }}
{{- end -}}

{{- define "kube-devops.hookJob" -}}
apiVersion: batch/v1
kind: Job
metadata:
  {{- include "kube-devops.hookMetadata" (merge (dict "weight" "0") .) | nindent 2 }}
spec:
  backoffLimit: 3
  activeDeadlineSeconds: 120
  template:
    metadata:
      labels:
        {{- include "kube-devops.podLabels" . | nindent 8 }}
      {{- with include "kube-devops.merged" (list .root.Values.commonAnnotations .root.Values.podAnnotations) }}
      annotations:
        {{- . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "kube-devops.hookPod" (merge (dict "restartPolicy" "Never") .) | nindent 6 }}
{{- end -}}
