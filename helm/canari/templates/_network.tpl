{{/*
Who speaks to whom: the one table that every NetworkPolicy of the chart follows from. `gateway` are the gateway's
proxies, in their own namespace; `kubernetes`, `internet`, `database` and `objects` lie outside of the release.
*/}}
{{- define "canari.edges" -}}
{{- $database := ternary "postgres" "database" .Values.postgres.enabled -}}
{{- $gateway := dict "to" "gateway" -}}
{{- if not .Values.gateway.url }}{{ $_ := set $gateway "port" (include "canari.gatewayPort" . | int) }}{{ end -}}
- {from: gateway, to: bento, port: 3000}
- {from: gateway, to: feedback, port: 8000}
- {from: gateway, to: portal, port: 8000}
- {from: gateway, to: fetcher, port: 8000}
- {from: bento, to: feedback, port: 8000}
- {from: feedback, to: {{ $database }}, port: 5432}
- {{ toJson (merge (dict "from" "fetcher") $gateway) }}
- {from: fetcher, to: internet}
- {from: controller, to: {{ $database }}, port: 5432}
- {from: controller, to: kubernetes}
- {from: controller, to: gateway, port: 19001}
- {from: migrate, to: {{ $database }}, port: 5432}
{{- range list "evaluate" "retrain" "retention" }}
- {from: {{ . }}, to: {{ $database }}, port: 5432}
{{- end }}
- {from: leave, to: kubernetes}
- {{ toJson (merge (dict "from" "probe") $gateway) }}
{{- if .Values.samples.install }}
- {from: welcome, to: kubernetes}
- {from: welcome, to: feedback, port: 8000}
- {{ toJson (merge (dict "from" "welcome") $gateway) }}
{{- end }}
{{- if .Values.mlflow.enabled }}
- {from: mlflow, to: {{ $database }}, port: 5432}
- {from: evaluate, to: mlflow, port: 5000}
- {from: retrain, to: mlflow, port: 5000}
{{- if .Values.s3.artifactsUrl }}
- {from: mlflow, to: objects}
{{- end }}
{{- end }}
{{- if .Values.s3.archivesUrl }}
- {from: feedback, to: objects}
- {from: evaluate, to: objects}
- {from: retrain, to: objects}
{{- end }}
{{- if .Values.monitoring.prometheus.enabled }}
- {from: prometheus, to: kubernetes}
- {from: prometheus, to: gateway, port: 19001}
- {from: prometheus, to: bento, port: 3000}
{{- range list "feedback" "portal" "fetcher" "controller" }}
- {from: prometheus, to: {{ . }}, port: 8000}
{{- end }}
{{- end }}
{{- if .Values.monitoring.alertmanager.enabled }}
- {from: prometheus, to: alertmanager, port: 9093}
- {from: alertmanager, to: internet}
{{- end }}
{{- if .Values.monitoring.grafana.enabled }}
- {from: grafana, to: prometheus, port: 9090}
- {from: grafana, to: {{ $database }}, port: 5432}
{{- end }}
{{- end }}

{{/* A NetworkPolicy's peers, as a rule's `to` or `from`. Takes root and peer. */}}
{{- define "canari.peer" -}}
{{- if eq .peer "gateway" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .root.Values.gateway.proxyNamespace }}}
  podSelector:
    matchLabels:
      {{- include "canari.proxyLabels" .root | nindent 6 }}
{{- else if eq .peer "kubernetes" -}}
- ipBlock: {cidr: {{ .root.Values.networkPolicy.apiServerCidr }}}
{{- else if eq .peer "database" -}}
- ipBlock: {cidr: {{ .root.Values.externalDatabase.cidr }}}
{{- else if eq .peer "objects" -}}
- ipBlock: {cidr: {{ .root.Values.s3.cidr }}}
{{- else if eq .peer "internet" -}}
- ipBlock:
    cidr: 0.0.0.0/0
    except:
      {{- toYaml .root.Values.networkPolicy.private | nindent 6 }}
{{- else -}}
- podSelector:
    matchLabels:
      {{- include "canari.selector" (dict "root" .root "component" .peer) | nindent 6 }}
{{- end -}}
{{- end }}

{{/* A rule's ports as YAML, or nothing for all. Takes root and edge. */}}
{{- define "canari.edgePorts" -}}
{{- $ports := list -}}
{{- if eq .edge.to "kubernetes" }}{{ $ports = .root.Values.networkPolicy.apiServerPorts -}}
{{- else if eq .edge.to "database" }}{{ $ports = list .root.Values.externalDatabase.port -}}
{{- else if eq .edge.to "objects" }}{{ $ports = list .root.Values.s3.port -}}
{{- else if eq .edge.to "internet" }}{{ $ports = list 80 443 -}}
{{- else if .edge.port }}{{ $ports = list .edge.port }}{{ end -}}
{{- range $ports }}
- {port: {{ . }}, protocol: TCP}
{{- end -}}
{{- end }}
