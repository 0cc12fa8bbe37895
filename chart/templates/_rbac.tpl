{{/* The binding of a ClusterRole to the ServiceAccount of a component. Arguments: root, component, role. */}}
{{- define "kube-devops.clusterRoleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ .role }}
  labels:
    {{- include "kube-devops.labels" . | nindent 4 }}
  {{- include "kube-devops.annotations" .root | indent 2 | trimSuffix "  " }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: {{ include "kube-devops.serviceAccountName" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}

{{/* The binding of a Role to the ServiceAccount of a component. Arguments: root, component, role. */}}
{{- define "kube-devops.roleBinding" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .role }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "kube-devops.labels" . | nindent 4 }}
  {{- include "kube-devops.annotations" .root | indent 2 | trimSuffix "  " }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .role }}
subjects:
  - kind: ServiceAccount
    name: {{ include "kube-devops.serviceAccountName" . }}
    namespace: {{ .root.Release.Namespace }}
{{- end -}}
