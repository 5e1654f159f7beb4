{{- define "forebay.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- define "forebay.selector" -}}
app.kubernetes.io/name: forebay
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
{{- define "forebay.labels" -}}
{{ include "forebay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
{{- define "forebay.name" -}}
{{ if contains "forebay" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-forebay{{ end }}-operator
{{- end }}
{{- /* The user that all of forebay runs as, or none: the cluster chooses. Values of an older chart say nothing of it. */ -}}
{{- define "forebay.user" -}}
{{- if kindIs "invalid" .Values.securityContext -}} 65532
{{- else if .Values.securityContext.runAsUser -}} {{ int64 .Values.securityContext.runAsUser }}
{{- else -}} none
{{- end -}}
{{- end }}
{{- /* What the operator does inside the namespaces it watches; nothing that it does not do. */ -}}
{{- define "forebay.rules" -}}
- apiGroups: [forebay.dev]
  resources: [localmodelpools, cloudfallbackpolicies]
  verbs: [list, watch]
- apiGroups: [forebay.dev]
  resources: [localmodelpools/status, cloudfallbackpolicies/status]
  verbs: [patch]
{{- /* Where OwnerReferencesPermissionEnforcement is on, as on OpenShift: to own objects that block their owner's deletion,
and to change who owns the fleet's own objects. */}}
- apiGroups: [forebay.dev]
  resources: [localmodelpools/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: [forebay-gateway]
  verbs: [delete]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  resourceNames: [forebay, forebay-gateway, forebay-routing]
  verbs: [delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  resourceNames: [forebay-gateway]
  verbs: [delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  resourceNames: [forebay-gateway]
  verbs: [delete]
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [forebay-control-token]
  verbs: [get, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch, list]
{{- end }}
{{- /* The Lease that one operator holds as long as it lives. */ -}}
{{- define "forebay.leaseRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [forebay-operator]
  verbs: [get, patch]
{{- end }}
