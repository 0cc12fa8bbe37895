{{/* The name of the Secret with the serving certificate, if the webhook does not issue its own. */}}
{{- define "kube-devops.certificateSecret" -}}
{{- $certificate := .Values.webhook.certificate -}}
{{- if eq $certificate.source "provided" -}}
{{- required "webhook.certificate.secretName is required with webhook.certificate.source=provided" $certificate.secretName -}}
{{- else -}}
{{- default (printf "%s-webhook-tls" (include "kube-devops.fullname" .)) $certificate.secretName -}}
{{- end -}}
{{- end -}}

{{/* The annotations of the webhook configurations. */}}
{{- define "kube-devops.webhookAnnotations" -}}
{{- $annotations := deepCopy .Values.commonAnnotations -}}
{{- if eq .Values.webhook.certificate.source "cert-manager" -}}
{{- $_ := set $annotations "cert-manager.io/inject-ca-from" (printf "%s/%s-webhook" .Release.Namespace (include "kube-devops.fullname" .)) -}}
{{- end -}}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
How API servers reach a path of the webhook. Arguments: root, path.
There is no caBundle for a managed certificate: the webhook sets it with a separate field manager, so that an upgrade does not conflict.
*/}}
{{- define "kube-devops.clientConfig" -}}
{{- $certificate := .root.Values.webhook.certificate -}}
{{- if eq $certificate.source "provided" }}
caBundle: {{ required "webhook.certificate.caBundle is required with webhook.certificate.source=provided" $certificate.caBundle | b64enc }}
{{- end }}
service:
  name: {{ include "kube-devops.fullname" .root }}-webhook
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
  port: 443
{{- end -}}

{{/* The selector of the namespaces whose workloads are evaluated. The namespace of the webhook is excluded, so that its pods can start. */}}
{{- define "kube-devops.namespaceSelector" -}}
{{- $excluded := list "cert-manager" "istio-system" "kube-node-lease" "kube-public" "kube-system" .Release.Namespace -}}
{{- $selector := .Values.webhook.namespaceSelector -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values:
      {{- concat $excluded .Values.systemNamespaces | uniq | sortAlpha | toYaml | nindent 6 }}
  {{- with $selector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $selector.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The condition that excludes updates by the operator. */}}
{{- define "kube-devops.notTheOperator" -}}
- name: not-the-operator
  expression: request.operation != 'UPDATE' || request.userInfo.username != '{{ include "kube-devops.operator" . }}'
{{- end -}}

{{/*
Fails if API servers would not trust the webhook during an upgrade, so that they admitted requests without evaluation, or denied all. Replicas
with the previous and with the new certificate run at the same time, and another field manager may own the CA bundle.
*/}}
{{- define "kube-devops.certificateChange" -}}
{{- $name := printf "%s-webhook" (include "kube-devops.fullname" .) -}}
{{- $certificate := .Values.webhook.certificate -}}
{{- $configuration := lookup "admissionregistration.k8s.io/v1" "ValidatingWebhookConfiguration" "" $name -}}
{{- $deployment := lookup "apps/v1" "Deployment" .Release.Namespace $name -}}
{{- if and $configuration $deployment -}}
{{- $volume := dict -}}
{{- range $deployment.spec.template.spec.volumes -}}
{{- if eq .name "tls" -}}
{{- $volume = . -}}
{{- end -}}
{{- end -}}
{{- $source := "managed" -}}
{{- if hasKey (default (dict) $configuration.metadata.annotations) "cert-manager.io/inject-ca-from" -}}
{{- $source = "cert-manager" -}}
{{- else if $volume -}}
{{- $source = "provided" -}}
{{- end -}}
{{- if ne $source $certificate.source -}}
{{- fail (printf "webhook.certificate.source cannot be changed from %s to %s while the webhook is installed: API servers would not trust it during the upgrade. Upgrade with webhook.enabled=false first, and then with the new source. In between, requests are admitted without evaluation. To avoid this, see https://github.com/stochasticquant/kube-devops/blob/main/docs/certificates.md#change-of-the-source" $source $certificate.source) -}}
{{- end -}}
{{- if eq $source "provided" -}}
{{- $before := default "" (first $configuration.webhooks).clientConfig.caBundle | b64dec | trim -}}
{{- if and (ne $volume.secret.secretName $certificate.secretName) (not (contains $before $certificate.caBundle)) -}}
{{- fail "webhook.certificate.secretName cannot be changed unless webhook.certificate.caBundle also contains the previous CA bundle: replicas with the previous certificate run during the upgrade. Remove it with the next upgrade" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
