{{/* The prefix of every object's name; short enough for what is put behind it. */}}
{{- define "canari.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* The labels that tell a component's pods from all others; they never change. Takes root and component. */}}
{{- define "canari.selector" -}}
app.kubernetes.io/name: canari
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* The labels of an object. Takes root and component. */}}
{{- define "canari.labels" -}}
{{ include "canari.selector" . }}
app.kubernetes.io/part-of: canari
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A name and labels. Takes root, component and, where the name is not the component's, name. */}}
{{- define "canari.metadata" -}}
name: {{ .name | default (printf "%s-%s" (include "canari.fullname" .root) .component) }}
namespace: {{ .namespace | default .root.Release.Namespace }}
labels:
  {{- include "canari.labels" . | nindent 2 }}
{{- end }}

{{- define "canari.secretName" -}}
{{- .Values.existingSecret | default (printf "%s-secrets" (include "canari.fullname" .)) -}}
{{- end }}

{{- define "canari.databaseSecretName" -}}
{{- .Values.externalDatabase.existingSecret | default (printf "%s-database" (include "canari.fullname" .)) -}}
{{- end }}

{{/* The claim of the platform's volume; its name tells whether packed versions lie on it. */}}
{{- define "canari.dataClaim" -}}
{{- printf "%s-%s" (include "canari.fullname" .) (empty .Values.s3.archivesUrl | ternary "archives" "data") -}}
{{- end }}

{{- define "canari.gatewayName" -}}
{{- .Values.gateway.name | default (include "canari.fullname" .) -}}
{{- end }}

{{- define "canari.gatewayNamespace" -}}
{{- ternary .Release.Namespace (.Values.gateway.namespace | default .Release.Namespace) .Values.gateway.create -}}
{{- end }}

{{/* The Service of the gateway's proxies: its name in their namespace, which other releases share. */}}
{{- define "canari.gatewayService" -}}
{{- printf "%s-%s" .Release.Namespace (include "canari.fullname" .) | trunc 55 | trimSuffix "-" }}-gateway
{{- end }}

{{/* Where the proxies listen: being no root, Envoy Gateway's take a port 10000 higher for a privileged one. */}}
{{- define "canari.gatewayPort" -}}
{{- ternary (add .Values.gateway.port 10000) .Values.gateway.port (lt (int .Values.gateway.port) 1024) -}}
{{- end }}

{{/* Where pods reach the gateway. */}}
{{- define "canari.gatewayUrl" -}}
{{- .Values.gateway.url | default (printf "http://%s.%s" (include "canari.gatewayService" .) .Values.gateway.proxyNamespace) -}}
{{- end }}

{{/* Labels by which Envoy Gateway's documentation tells the proxies of one Gateway. */}}
{{- define "canari.proxyLabels" -}}
gateway.envoyproxy.io/owning-gateway-name: {{ include "canari.gatewayName" . }}
gateway.envoyproxy.io/owning-gateway-namespace: {{ include "canari.gatewayNamespace" . }}
{{- end }}

{{/* An image. Takes root and name, a key of .Values.images. The registry stands before Canari's own alone. */}}
{{- define "canari.image" -}}
{{- $image := index .root.Values.images .name -}}
{{- $repository := $image.repository -}}
{{- $tag := $image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- if and .root.Values.image.registry (hasPrefix "canari/" $repository) -}}
{{- $repository = printf "%s/%s" .root.Values.image.registry $repository -}}
{{- end -}}
{{- if $image.digest }}{{ $repository }}@{{ $image.digest }}{{ else }}{{ $repository }}:{{ $tag }}{{ end -}}
{{- end }}

{{/* "yes" where models.canari.dev is not there yet, or is this release's. */}}
{{- define "canari.ownsDefinition" -}}
{{- $found := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" "models.canari.dev" -}}
{{- $owner := dig "metadata" "annotations" (dict) $found -}}
{{- $ours := and (eq (get $owner "meta.helm.sh/release-name") .Release.Name) (eq (get $owner "meta.helm.sh/release-namespace") .Release.Namespace) -}}
{{- if or (not $found) $ours }}yes{{ end -}}
{{- end }}

{{/* What cannot be, said before anything is made. */}}
{{- define "canari.validate" -}}
{{- $v := .Values -}}
{{- $external := or $v.externalDatabase.url $v.externalDatabase.existingSecret -}}
{{- if and (not $v.postgres.enabled) (not $external) -}}
{{- fail "there is no database: set externalDatabase.url or externalDatabase.existingSecret, or leave postgres.enabled true" -}}
{{- end -}}
{{- if and $v.postgres.enabled $external -}}
{{- fail "there are two databases: set postgres.enabled to false, or clear externalDatabase" -}}
{{- end -}}
{{- if and $v.mlflow.enabled $v.externalDatabase.url (not $v.externalDatabase.lineageUrl) -}}
{{- fail "MLflow needs a database of its own: set externalDatabase.lineageUrl, or mlflow.enabled to false" -}}
{{- end -}}
{{- if and (not $v.gateway.create) (not $v.gateway.name) -}}
{{- fail "gateway.create is false: name your Gateway in gateway.name and gateway.namespace" -}}
{{- end -}}
{{- if and $v.monitoring.grafana.enabled (not (or $v.monitoring.prometheus.enabled $v.monitoring.grafana.prometheusUrl)) -}}
{{- fail "Grafana has no Prometheus to read: set monitoring.prometheus.enabled, or monitoring.grafana.prometheusUrl" -}}
{{- end -}}
{{- if and $v.monitoring.alertmanager.discord (not $v.monitoring.alertmanager.existingSecret) -}}
{{- fail "the Discord webhook's address is a secret: put it in a Secret, and name that in monitoring.alertmanager.existingSecret" -}}
{{- end -}}
{{- with $v.monitoring.alertmanager.email -}}
{{- if and .to (not (and .from .smarthost)) -}}
{{- fail "mail needs a sender and a server: set from and smarthost under monitoring.alertmanager.email" -}}
{{- end -}}
{{- end -}}
{{- if and $v.ingress.enabled $v.gateway.url -}}
{{- fail "the Ingress leads to the Service that gateway.url replaces: clear gateway.url, or set ingress.enabled to false" -}}
{{- end -}}
{{- end }}
