{{/* Environments, as YAML lists. All take the root context. */}}
{{- define "canari.env.logs" -}}
- name: CANARI_LOG_FORMAT
  value: json
- name: CANARI_LOG_LEVEL
  value: {{ .Values.logLevel }}
{{- end }}

{{/* The application role's database. libpq takes the password from PGPASSWORD, so it may hold any character. */}}
{{- define "canari.env.database" -}}
{{- if .Values.postgres.enabled -}}
- name: CANARI_DATABASE_URL
  value: postgresql://canari_app@{{ include "canari.fullname" . }}-postgres/canari
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "canari.secretName" . }}, key: {{ .Values.secretKeys.appPassword }}}
{{- else -}}
- name: CANARI_DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ include "canari.databaseSecretName" . }}, key: {{ .Values.externalDatabase.keys.url }}}
{{- end }}
{{- end }}

{{/* What the migration needs: the owner's database, and the passwords that the other roles are to have. */}}
{{- define "canari.env.migrate" -}}
{{- $secret := include "canari.secretName" . -}}
{{- $keys := .Values.secretKeys -}}
- name: CANARI_ADMIN_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $keys.adminPassword }}}
{{- if .Values.postgres.enabled }}
- name: CANARI_DATABASE_OWNER_URL
  value: postgresql://canari_owner@{{ include "canari.fullname" . }}-postgres/canari
{{- $passwords := dict "PGPASSWORD" $keys.postgresPassword "CANARI_APP_PASSWORD" $keys.appPassword "CANARI_READ_PASSWORD" $keys.readPassword "CANARI_LINEAGE_PASSWORD" $keys.lineagePassword }}
{{- range $name, $key := $passwords }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}
{{- end }}
{{- else }}
- name: CANARI_DATABASE_OWNER_URL
  valueFrom:
    secretKeyRef: {name: {{ include "canari.databaseSecretName" . }}, key: {{ .Values.externalDatabase.keys.ownerUrl }}}
{{- end }}
{{- end }}

{{/* The database as its owner: for a job that does what the application's role may not. */}}
{{- define "canari.env.ownDatabase" -}}
{{- if .Values.postgres.enabled -}}
- name: CANARI_DATABASE_URL
  value: postgresql://canari_owner@{{ include "canari.fullname" . }}-postgres/canari
- name: PGPASSWORD
  valueFrom:
    secretKeyRef: {name: {{ include "canari.secretName" . }}, key: {{ .Values.secretKeys.postgresPassword }}}
{{- else -}}
- name: CANARI_DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ include "canari.databaseSecretName" . }}, key: {{ .Values.externalDatabase.keys.ownerUrl }}}
{{- end }}
{{- end }}

{{/* The folder of the platform's volume; and when its jobs are due, so that a run knows which window it is for. */}}
{{- define "canari.env.data" -}}
- name: CANARI_DATA_DIR
  value: /data
{{- range list "evaluate" "retrain" "retention" }}
- name: CANARI_{{ upper . }}_SCHEDULE
  value: {{ (index $.Values .).schedule | quote }}
{{- end }}
{{- end }}

{{/* Where packed versions are, unless on the platform's volume. */}}
{{- define "canari.env.archives" -}}
{{- with .Values.s3.archivesUrl }}
- name: CANARI_ARCHIVES_URL
  value: {{ . | quote }}
{{- end }}
{{- include "canari.env.s3" . }}
{{- end }}

{{- define "canari.env.lineage" -}}
{{- if .Values.mlflow.enabled }}
- name: CANARI_LINEAGE_URL
  value: http://{{ include "canari.fullname" . }}-mlflow
{{- end }}
{{- end }}

{{- define "canari.env.s3" -}}
{{- with .Values.s3.endpointUrl }}
- name: AWS_ENDPOINT_URL_S3
  value: {{ . | quote }}
{{- end }}
{{- with .Values.s3.region }}
- name: AWS_REGION
  value: {{ . | quote }}
{{- end }}
{{- with .Values.s3.existingSecret }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.s3.keys.accessKeyId }}}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: {{ $.Values.s3.keys.secretAccessKey }}}
{{- end }}
{{- end }}

{{/* The folder of the signing key, and the volume it is mounted from. */}}
{{- define "canari.env.keys" -}}
- name: CANARI_KEYS_DIR
  value: /run/secrets/canari
{{- end }}

{{- define "canari.keysVolume" -}}
- name: keys
  secret:
    secretName: {{ include "canari.secretName" . }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.secretKeys.signingKey }}, path: signing.pem}
{{- end }}
