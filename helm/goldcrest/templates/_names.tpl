{{- /* Names and labels that several templates use. */ -}}

{{- define "goldcrest.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "goldcrest.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "goldcrest.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "goldcrest.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "goldcrest.selector" -}}
app.kubernetes.io/name: {{ include "goldcrest.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "goldcrest.labels" -}}
{{ include "goldcrest.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "goldcrest.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "goldcrest.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "goldcrest.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* The configuration file. Secrets that it names and nobody mounts are found here, not when the pod starts. */ -}}
{{- define "goldcrest.config" -}}
{{- $config := toYaml .Values.config -}}
{{- range regexFindAll "secret_file:/run/secrets/goldcrest/[^/\\s\"']+" $config -1 -}}
{{- $mount := base . -}}
{{- if not (hasKey $.Values.secretMounts $mount) -}}
{{- fail (printf "config names %s, but secretMounts has no %q" . $mount) -}}
{{- end -}}
{{- end -}}
{{- $listen := dict "server" (dict "listen" (printf "%s:%d" .Values.listenAddress (int .Values.containerPort))) -}}
{{- if .Values.metrics.enabled -}}
{{- if eq (int .Values.metrics.port) (int .Values.containerPort) -}}
{{- fail "metrics.port is the containerPort: the metrics need a port of their own" -}}
{{- end -}}
{{- $_ := set $listen "metrics" (dict "listen" (printf "%s:%d" .Values.listenAddress (int .Values.metrics.port))) -}}
{{- end -}}
{{- mergeOverwrite (deepCopy .Values.config) $listen | toYaml -}}
{{- end -}}
