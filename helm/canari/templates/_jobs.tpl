{{/*
The pod template of a job that runs `python -m services.jobs`. Takes root, component, settings, args (a list), env (YAML
text), and keys (whether it signs with the platform's key).
*/}}
{{- define "canari.jobPod" -}}
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
        {{- if .keys }}
        - {name: keys, mountPath: /run/secrets/canari, readOnly: true}
        {{- end }}
        - {name: tmp, mountPath: /tmp}
  volumes:
    {{- if .keys }}
    {{- include "canari.keysVolume" .root | nindent 4 }}
    {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 256Mi}
{{- end }}
