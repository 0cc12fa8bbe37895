{{/*
The Deployment of a component. Arguments: root, component, port, portName, scheme, args (a list), volumes, mounts, securityContext (of
the pod).
*/}}
{{- define "kube-devops.deployment" -}}
{{- $root := .root -}}
{{- $component := .component -}}
{{- $own := index $root.Values $component -}}
{{- $name := printf "%s-%s" (include "kube-devops.fullname" $root) $component -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "kube-devops.labels" . | nindent 4 }}
  {{- include "kube-devops.annotations" $root | indent 2 | trimSuffix "  " }}
spec:
  replicas: {{ include "kube-devops.replicas" . }}
  revisionHistoryLimit: 3
  strategy:
    rollingUpdate:
      maxSurge: 1
      maxUnavailable: 0
  selector:
    matchLabels:
      {{- include "kube-devops.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "kube-devops.podLabels" (dict "root" $root "component" $component "podLabels" $own.podLabels) | nindent 8 }}
      {{- with include "kube-devops.merged" (list $root.Values.commonAnnotations $root.Values.podAnnotations $own.podAnnotations) }}
      annotations:
        {{- . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "kube-devops.serviceAccountName" . }}
      {{- include "kube-devops.imagePullSecrets" $root | indent 6 | trimSuffix "      " }}
      securityContext:
        {{- toYaml (default $root.Values.podSecurityContext .securityContext) | nindent 8 }}
      terminationGracePeriodSeconds: 30
      {{- with include "kube-devops.value" (dict "root" $root "component" $component "key" "priorityClassName") }}
      priorityClassName: {{ . }}
      {{- end }}
      containers:
        - name: {{ $component }}
          image: {{ include "kube-devops.image" $root }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args:
            {{- range .args }}
            - {{ . | quote }}
            {{- end }}
            {{- range $root.Values.systemNamespaces }}
            - {{ printf "--system-namespace=%s" . | quote }}
            {{- end }}
            {{- range $own.extraArgs }}
            - {{ . | quote }}
            {{- end }}
          env:
            - name: POD_NAME
              valueFrom:
                fieldRef:
                  fieldPath: metadata.name
            - name: POD_NAMESPACE
              valueFrom:
                fieldRef:
                  fieldPath: metadata.namespace
            {{- with include "kube-devops.value" (dict "root" $root "component" $component "key" "extraEnv") }}
            {{- . | nindent 12 }}
            {{- end }}
          ports:
            - name: {{ .portName }}
              containerPort: {{ .port }}
          livenessProbe:
            httpGet:
              path: /healthz
              port: {{ .portName }}
              scheme: {{ .scheme }}
            periodSeconds: 10
            timeoutSeconds: 5
          readinessProbe:
            httpGet:
              path: /readyz
              port: {{ .portName }}
              scheme: {{ .scheme }}
            periodSeconds: 2
            timeoutSeconds: 5
          {{- with include "kube-devops.value" (dict "root" $root "component" $component "key" "resources") }}
          resources:
            {{- . | nindent 12 }}
          {{- end }}
          securityContext:
            {{- include "kube-devops.securityContext" $root | nindent 12 }}
          {{- with .mounts }}
          volumeMounts:
            {{- toYaml . | nindent 12 }}
          {{- end }}
      {{- with .volumes }}
      volumes:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with include "kube-devops.value" (dict "root" $root "component" $component "key" "nodeSelector") }}
      nodeSelector:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with include "kube-devops.value" (dict "root" $root "component" $component "key" "tolerations") }}
      tolerations:
        {{- . | nindent 8 }}
      {{- end }}
      {{- with include "kube-devops.value" (dict "root" $root "component" $component "key" "affinity") }}
      affinity:
        {{- . | nindent 8 }}
      {{- end }}
      {{- $default := dict "maxSkew" 1 "topologyKey" "kubernetes.io/hostname" "whenUnsatisfiable" "ScheduleAnyway" }}
      {{- $set := include "kube-devops.value" (dict "root" $root "component" $component "key" "topologySpreadConstraints") }}
      {{- $constraints := ternary (list $default) (fromYamlArray $set) (empty $set) }}
      topologySpreadConstraints:
        {{- range $constraints }}
        {{- $selector := dict "labelSelector" (dict "matchLabels" (include "kube-devops.selectorLabels" $ | fromYaml)) }}
        - {{ ternary . (merge (deepCopy .) $selector) (hasKey . "labelSelector") | toYaml | nindent 10 | trim }}
        {{- end }}
{{- end -}}
