{{/* The rules of every alert as YAML groups; runbooks get the address of the documentation, if there is one. */}}
{{- define "canari.ruleGroups" -}}
{{- $groups := list -}}
{{- range $path, $_ := .Files.Glob "files/monitoring/rules/*.yaml" -}}
{{- $groups = concat $groups ($.Files.Get $path | fromYaml).groups -}}
{{- end -}}
{{- $docs := .Values.monitoring.docsUrl | default "docs" -}}
{{- toYaml $groups | replace "runbook_url: docs/" (printf "runbook_url: %s/" $docs) -}}
{{- end }}

{{/* A file of the monitoring folder with the release's names in it. Takes root and file. */}}
{{- define "canari.monitoringFile" -}}
{{- tpl (.root.Files.Get (printf "files/monitoring/%s" .file)) .root -}}
{{- end }}

{{/* A pod's annotation that changes with the manifest of this file, so that the pod starts anew. Takes root and file. */}}
{{- define "canari.checksum" -}}
{{- include (print .root.Template.BasePath "/monitoring/" .file) .root | sha256sum -}}
{{- end }}

{{/* A proxy tells thousands of figures; these are read. */}}
{{- define "canari.envoyMetrics" -}}
envoy_(http_downstream_rq_(xx|time.*)|cluster_upstream_rq(_xx|_time.*|_retry|_timeout)?|cluster_upstream_cx_connect_fail|server_live|listener_ssl_certificate_expiration_unix_time_seconds)
{{- end }}

{{/* The address of a watcher elsewhere; a key that the Secret lacks has none. Takes root and kind, a key of heartbeats.keys. */}}
{{- define "canari.env.heartbeat" -}}
{{- with .root.Values.heartbeats.existingSecret }}
- name: CANARI_HEARTBEAT_{{ upper $.kind }}_URL
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ index $.root.Values.heartbeats.keys $.kind }}, optional: true}
{{- end }}
{{- end }}
