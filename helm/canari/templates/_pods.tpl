{{/*
What pods have in common. All take a dict: root, component, settings (the component's values, with `pod`).
*/}}

{{- define "canari.pod" -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.pod) (deepCopy (.settings.pod | default dict))) -}}
{{- end }}

{{/* The metadata of a pod's template; `checksums` names rendered text whose change restarts the pods. */}}
{{- define "canari.podMetadata" -}}
{{- $pod := include "canari.pod" . | fromYaml -}}
labels:
  {{- include "canari.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: canari
  {{- with merge (dict) $pod.labels .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.checksums | default dict) $pod.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A pod's settings beside its containers and volumes; `token` mounts the API token, `user` is not 10001's. */}}
{{- define "canari.podSettings" -}}
{{- $pod := include "canari.pod" . | fromYaml -}}
{{- $user := .user | default 10001 -}}
serviceAccountName: {{ include "canari.fullname" .root }}-{{ .component }}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $user }}
  runAsGroup: {{ $user }}
  fsGroup: {{ $user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.affinity | default .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if hasKey .settings "replicas" }}
{{- with $pod.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{- toYaml (merge (dict) . (dict "labelSelector" (dict "matchLabels" (include "canari.selector" $ | fromYaml)))) | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A container's image, resources, environment and security; `image` is a key of .Values.images, `env` YAML text. */}}
{{- define "canari.container" -}}
{{- $extra := (include "canari.pod" . | fromYaml).extraEnv | default list -}}
{{- $names := list -}}
{{- range $extra }}{{ $names = append $names .name }}{{ end -}}
{{- $env := list -}}
{{- range .env | default "[]" | fromYamlArray }}{{ if not (has .name $names) }}{{ $env = append $env . }}{{ end }}{{ end -}}
image: {{ include "canari.image" (dict "root" .root "name" (.image | default "platform")) | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with concat $env $extra }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .settings.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The volume of what the platform keeps in files. Takes the root context, as does the next. */}}
{{- define "canari.dataVolume" -}}
- name: data
  persistentVolumeClaim: {claimName: {{ .Values.archives.existingClaim | default (include "canari.dataClaim" .) }}}
{{- end }}

{{/* A ReadWriteOnce volume is one node's: whoever mounts it has to be where the feedback pods are. */}}
{{- define "canari.dataAffinity" -}}
{{- if eq .Values.archives.accessMode "ReadWriteOnce" -}}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - labelSelector:
        matchLabels:
          {{- include "canari.selector" (dict "root" . "component" "feedback") | nindent 10 }}
      topologyKey: kubernetes.io/hostname
{{- end }}
{{- end }}

{{/* Probes of HTTP routes. A start may take five minutes: the schema is waited for. Takes live and ready, paths. */}}
{{- define "canari.probes" -}}
startupProbe:
  httpGet: {path: {{ .live }}, port: http}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
readinessProbe:
  httpGet: {path: {{ .ready | default .live }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 5
livenessProbe:
  httpGet: {path: {{ .live }}, port: http}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
{{- end }}

{{/* A pod that ends answers on until the gateway's proxies have forgotten it. */}}
{{- define "canari.drain" -}}
preStop:
  sleep: {seconds: 5}
{{- end }}
