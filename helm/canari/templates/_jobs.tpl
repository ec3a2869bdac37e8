{{/*
The pod template of a job that runs `python -m services.jobs`. Takes root, component, settings, args (a list), env (YAML
text), keys (whether it signs with the platform's key), data (whether it works on the platform's volume), image (a key of
.Values.images), and tmp (the size of /tmp).
*/}}
{{- define "canari.jobPod" -}}
{{- if .data }}{{ $_ := set . "affinity" (include "canari.dataAffinity" .root | fromYaml) }}{{ end -}}
metadata:
  {{- include "canari.podMetadata" . | nindent 2 }}
spec:
  {{- include "canari.podSettings" . | nindent 2 }}
  restartPolicy: {{ .restartPolicy | default "Never" }}
  terminationGracePeriodSeconds: 30
  containers:
    - name: {{ .component }}
      args: {{ concat (list "python" "-m" "services.jobs") .args | toJson }}
      {{- include "canari.container" . | nindent 6 }}
      volumeMounts:
        {{- if .data }}
        - {name: data, mountPath: /data}
        {{- end }}
        {{- if .keys }}
        - {name: keys, mountPath: /run/secrets/canari, readOnly: true}
        {{- end }}
        - {name: tmp, mountPath: /tmp}
  volumes:
    {{- if .data }}
    {{- include "canari.dataVolume" .root | nindent 4 }}
    {{- end }}
    {{- if .keys }}
    {{- include "canari.keysVolume" .root | nindent 4 }}
    {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: {{ .tmp | default "256Mi" }}}
{{- end }}
