{{/* "yes" where Envoy Gateway's own policies are to be made: never for a Gateway that is someone else's. */}}
{{- define "canari.envoyPolicies" -}}
{{- $found := .Capabilities.APIVersions.Has "gateway.envoyproxy.io/v1alpha1" -}}
{{- $wanted := or (eq .Values.gateway.envoyPolicies "always") (and (eq .Values.gateway.envoyPolicies "auto") $found) -}}
{{- if and .Values.gateway.create $wanted }}yes{{ end -}}
{{- end }}

{{- define "canari.policyTarget" -}}
targetRefs:
  - group: gateway.networking.k8s.io
    kind: Gateway
    name: {{ include "canari.gatewayName" . }}
{{- end }}
