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
{{- /* Of the operator's own objects. A Service's name is at most 63 characters long, begins with a letter and has no
dots, whatever the release is called; a name that had to be changed ends in a hash of the release's. */ -}}
{{- define "forebay.name" -}}
{{- $name := .Release.Name }}
{{- if not (contains "forebay" $name) }}{{ $name = printf "%s-forebay" $name }}{{ end }}
{{- $plain := replace "." "-" $name }}
{{- if regexMatch "^[0-9]" $plain }}{{ $plain = printf "r-%s" $plain }}{{ end }}
{{- if gt (len $plain) 54 }}{{ $plain = trunc 44 $plain | trimSuffix "-" }}{{ end }}
{{- if ne $plain $name }}{{ $plain = printf "%s-%s" (trunc 44 $plain | trimSuffix "-") (sha256sum .Release.Name | trunc 8) }}{{ end }}
{{- $plain }}-operator
{{- end }}
{{- /* Of objects outside the release's namespace, where another release of the same name may have its own. */ -}}
{{- define "forebay.clusterName" -}}
{{ include "forebay.name" . }}-{{ .Release.Namespace }}
{{- end }}
{{- /* The user that all of forebay runs as, or none: the cluster chooses. Values of an older chart say nothing of it. */ -}}
{{- define "forebay.user" -}}
{{- if kindIs "invalid" .Values.securityContext -}} 65532
{{- else if .Values.securityContext.runAsUser -}} {{ int64 .Values.securityContext.runAsUser }}
{{- else -}} none
{{- end -}}
{{- end }}
{{- define "forebay.podSecurity" -}}
runAsNonRoot: true
{{- $user := include "forebay.user" . }}
{{- if ne $user "none" }}
runAsUser: {{ $user }}
runAsGroup: {{ $user }}
fsGroup: {{ $user }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- /* Of the pod of `helm test`, which no Service of the operator may select. */ -}}
{{- define "forebay.testLabels" -}}
app.kubernetes.io/name: forebay
app.kubernetes.io/component: test
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
{{- /* Names: policies see the port of the pod behind DNS's Service, which is not 53 everywhere. */ -}}
{{- define "forebay.dnsEgress" -}}
- ports:
    {{- range .Values.networkPolicies.dnsPorts }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
      podSelector:
        matchLabels: {k8s-app: kube-dns}
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
  resourceNames: [forebay, forebay-gateway, forebay-routing, forebay-budget]
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
