{{- /* The operator's environment. Generated; run `make options`. */ -}}
{{- define "forebay.options" -}}
- {name: FOREBAY_ROUTER_IMAGE, value: {{ .Values.routerImage | default (include "forebay.image" .) | quote }}}
- {name: FOREBAY_SIMULATOR_IMAGE, value: {{ .Values.simulatorImage | default (include "forebay.image" .) | quote }}}
- {name: FOREBAY_ENGINE_IMAGE, value: {{ .Values.engineImage | quote }}}
- {name: FOREBAY_PULL_POLICY, value: {{ .Values.image.pullPolicy | quote }}}
- {name: FOREBAY_PULL_SECRETS, value: {{ join "," .Values.fleetPullSecrets | quote }}}
- {name: FOREBAY_GATEWAY_REPLICAS, value: {{ .Values.gatewayReplicas | quote }}}
- {name: FOREBAY_GATEWAY_PODS, value: {{ .Values.gateway | toJson | quote }}}
- {name: FOREBAY_NAMESPACES, value: {{ join "," .Values.namespaces | quote }}}
- {name: FOREBAY_LEASE_NAMESPACE, value: {{ .Values.leaseNamespace | quote }}}
- {name: FOREBAY_RESYNC_SECONDS, value: {{ .Values.resyncSeconds | quote }}}
- {name: FOREBAY_PROVIDER_NETWORKS, value: {{ join "," .Values.cloud.allowedNetworks | quote }}}
- {name: FOREBAY_PROVIDER_PROXIES, value: {{ join "," .Values.cloud.proxies | quote }}}
- {name: FOREBAY_CORS_ORIGINS, value: {{ join "," .Values.cors.origins | quote }}}
- {name: FOREBAY_TASK_SOURCE, value: {{ .Values.classifier.taskSource | quote }}}
- {name: FOREBAY_CONNECT_SECONDS, value: {{ .Values.timeouts.connectSeconds | quote }}}
- {name: FOREBAY_FIRST_TOKEN_SECONDS, value: {{ .Values.timeouts.firstTokenSeconds | quote }}}
- {name: FOREBAY_BETWEEN_CHUNKS_SECONDS, value: {{ .Values.timeouts.betweenChunksSeconds | quote }}}
- {name: FOREBAY_SILENCE_SECONDS, value: {{ .Values.timeouts.silenceSeconds | quote }}}
- {name: FOREBAY_TOTAL_SECONDS, value: {{ .Values.timeouts.totalSeconds | quote }}}
- {name: FOREBAY_IDLE_SECONDS, value: {{ .Values.timeouts.idleSeconds | quote }}}
- {name: FOREBAY_NETWORK_POLICIES, value: {{ .Values.networkPolicies.enabled | quote }}}
- {name: FOREBAY_LOG_LEVEL, value: {{ .Values.logLevel | quote }}}
- {name: FOREBAY_SERVICE, value: {{ include "forebay.name" . | quote }}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- end }}
