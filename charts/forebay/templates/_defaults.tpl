{{- /* What templates take for values that are absent. Generated; run `make options`. */ -}}
{{- define "forebay.fill" -}}
{{- $given := .Values }}
{{- $blocks := include "forebay.blocks" . | fromYaml }}
{{- range $name, $value := include "forebay.defaults" . | fromYaml }}
{{- if or (not (hasKey $given $name)) (kindIs "invalid" (get $given $name)) }}
{{- $_ := set $given $name $value }}
{{- else if hasKey $blocks $name }}
{{- $block := get $given $name }}
{{- range $key := get $blocks $name }}
{{- if or (not (hasKey $block $key)) (kindIs "invalid" (get $block $key)) }}
{{- $_ := set $block $key (get $value $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- define "forebay.defaults" -}}
image:
  repository: forebay.dev/forebay
  tag: ''
  pullPolicy: IfNotPresent
imagePullSecrets: []
fleetPullSecrets: []
engineImage: vllm/vllm-openai:v0.32.0
routerImage: ''
simulatorImage: ''
gatewayReplicas: 2
gateway: {}
cloud:
  allowedNetworks: []
  proxies: []
classifier:
  taskSource: Anywhere
namespaces: []
leaseNamespace: kube-system
resyncSeconds: 5
logLevel: INFO
resources:
  requests:
    cpu: 50m
    memory: 128Mi
    ephemeral-storage: 64Mi
  limits:
    memory: 512Mi
    ephemeral-storage: 1Gi
nodeSelector: {}
tolerations: []
affinity: {}
podAnnotations: {}
timeouts:
  connectSeconds: 2
  firstTokenSeconds: 60
  betweenChunksSeconds: 30
  silenceSeconds: 300
  totalSeconds: 600
  idleSeconds: 4
  pingSeconds: 0
cors:
  origins: []
securityContext:
  runAsUser: 65532
networkPolicies:
  enabled: true
  apiServerPorts:
  - 443
  - 6443
  - 6444
  - 8443
  - 16443
  dnsPorts:
  - 53
  - 5353
  modelPorts:
  - 443
  operatorEgress: []
  gatewayEgress: []
  replicaEgress: []
podMonitors:
  enabled: false
  labels: {}
rbac:
  clusterRoles: true
crds:
  install: true
summary:
  subjects: []
dashboards:
  enabled: false
  labels:
    grafana_dashboard: '1'
  annotations: {}
prometheusRules:
  enabled: false
  labels: {}
  runbookURL: https://forebay.dev/docs/runbook.md
enabled: true
{{- end }}
{{- define "forebay.blocks" -}}
image:
- repository
- tag
- pullPolicy
cloud:
- allowedNetworks
- proxies
classifier:
- taskSource
timeouts:
- connectSeconds
- firstTokenSeconds
- betweenChunksSeconds
- silenceSeconds
- totalSeconds
- idleSeconds
- pingSeconds
cors:
- origins
securityContext: []
networkPolicies:
- enabled
- dnsPorts
- modelPorts
- gatewayEgress
- replicaEgress
- apiServerPorts
- operatorEgress
podMonitors:
- enabled
- labels
rbac:
- clusterRoles
crds:
- install
summary:
- subjects
dashboards:
- enabled
- labels
- annotations
prometheusRules:
- enabled
- labels
- runbookURL
{{- end }}
