{{/* The name of everything: the release's own. A CronJob's may have 52 characters. */}}
{{- define "chatkeep.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-chatkeep" .Release.Name) (contains "chatkeep" .Release.Name) -}}
{{- $name | trunc 45 | trimSuffix "-" -}}
{{- end }}

{{- define "chatkeep.selectorLabels" -}}
app.kubernetes.io/name: chatkeep
app.kubernetes.io/instance: {{ include "chatkeep.fullname" . }}
{{- end }}

{{- define "chatkeep.labels" -}}
{{ include "chatkeep.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "chatkeep.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "chatkeep.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* Whether there is a configuration, and so a daily run. */}}
{{- define "chatkeep.isSetUp" -}}
{{- if or .Values.config .Values.existingSecret -}}yes{{- end -}}
{{- end }}

{{/* A pod cannot be changed: each revision of the release has its own. */}}
{{- define "chatkeep.terminalName" -}}
{{- printf "%s-terminal-%d" (include "chatkeep.fullname" .) (int .Release.Revision) -}}
{{- end }}

{{- define "chatkeep.podMetadata" -}}
labels:
  {{- include "chatkeep.selectorLabels" . | nindent 2 }}
  {{- with .Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The pod of the daily run (isTerminal: false), or of the one to work in by hand. */}}
{{- define "chatkeep.pod" -}}
{{- $name := include "chatkeep.fullname" .root -}}
{{- $isSetUp := include "chatkeep.isSetUp" .root -}}
{{- with .root.Values -}}
serviceAccountName: {{ include "chatkeep.serviceAccountName" $.root }}
automountServiceAccountToken: true
restartPolicy: Never
terminationGracePeriodSeconds: {{ ternary 10 120 $.isTerminal }}
{{- with .image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10027
  runAsGroup: 10027
  fsGroup: 10027
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: chatkeep
    image: {{ printf "%s:%s" (required "image.repository is empty: name where your cluster pulls Chatkeep's image from" .image.repository) (.image.tag | default $.root.Chart.AppVersion) }}
    imagePullPolicy: {{ .image.pullPolicy }}
    {{- if $.isTerminal }}
    command: ["sleep", "28800"]
    {{- else }}
    args: ["--config", "/etc/chatkeep/chatkeep.yaml", "--json", "--quiet", "run"]
    {{- end }}
    env:
      - name: TZ
        value: {{ .timeZone | quote }}
      - name: XDG_CACHE_HOME
        value: /var/lib/chatkeep/cache
      {{- with .extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with .credentialsSecret }}
    envFrom:
      - secretRef:
          name: {{ . }}
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: ["ALL"]
    {{- with .resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
      - name: config
        mountPath: /etc/chatkeep
        {{- if $isSetUp }}
        readOnly: true
        {{- end }}
      - name: state
        mountPath: /var/lib/chatkeep
      - name: tmp
        mountPath: /tmp
      {{- if .storage.existingClaim }}
      - name: storage
        mountPath: {{ .storage.mountPath }}
        readOnly: {{ not $.isTerminal }}
      {{- end }}
      {{- with .extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    {{- if $isSetUp }}
    projected:
      # 0440
      defaultMode: 288
      sources:
        {{- if .config }}
        - secret:
            name: {{ $name }}-config
        {{- end }}
        {{- with .existingSecret }}
        - secret:
            name: {{ . }}
        {{- end }}
    {{- else }}
    emptyDir:
      medium: Memory
    {{- end }}
  - name: state
    persistentVolumeClaim:
      claimName: {{ .state.existingClaim | default (printf "%s-state" $name) }}
  - name: tmp
    {{- if .scratch.size }}
    ephemeral:
      volumeClaimTemplate:
        spec:
          accessModes: ["ReadWriteOnce"]
          {{- with .scratch.storageClass }}
          storageClassName: {{ . }}
          {{- end }}
          resources:
            requests:
              storage: {{ .scratch.size }}
    {{- else }}
    emptyDir: {}
    {{- end }}
  {{- if .storage.existingClaim }}
  - name: storage
    persistentVolumeClaim:
      claimName: {{ .storage.existingClaim }}
      readOnly: {{ not $.isTerminal }}
  {{- end }}
  {{- with .extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
