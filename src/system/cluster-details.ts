/** What a Kubernetes API says of things in a namespace: as much of it as is used. Reference: "Kubernetes API", v1 and apps/v1. */

export interface ObjectMeta {
  name: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ownerReferences?: { kind: string; name: string; uid?: string }[];
  deletionTimestamp?: string;
}

export interface ClusterObject {
  metadata: ObjectMeta;
}

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: {
    secretKeyRef?: KeyReference;
    configMapKeyRef?: KeyReference;
    fieldRef?: { fieldPath: string };
    resourceFieldRef?: { resource: string };
  };
}

interface KeyReference {
  name: string;
  key: string;
  optional?: boolean;
}

export interface EnvFrom {
  prefix?: string;
  secretRef?: { name: string; optional?: boolean };
  configMapRef?: { name: string; optional?: boolean };
}

export interface VolumeMount {
  name: string;
  mountPath: string;
  subPath?: string;
  subPathExpr?: string;
}

/** `name`, and one more key that says what it is. */
export interface Volume {
  name: string;
  persistentVolumeClaim?: { claimName: string; readOnly?: boolean };
  emptyDir?: object;
  ephemeral?: object;
  hostPath?: { path: string };
  secret?: { secretName: string; optional?: boolean; items?: { key: string; path: string }[] };
  configMap?: { name: string; optional?: boolean; items?: { key: string; path: string }[] };
  projected?: {
    sources?: { secret?: { name: string }; configMap?: { name: string } }[];
  };
}

export interface ContainerSpec {
  name: string;
  image?: string;
  command?: string[];
  args?: string[];
  workingDir?: string;
  env?: EnvVar[];
  envFrom?: EnvFrom[];
  ports?: { name?: string; containerPort: number; protocol?: string }[];
  volumeMounts?: VolumeMount[];
}

export interface PodSpec {
  containers: ContainerSpec[];
  initContainers?: ContainerSpec[];
  volumes?: Volume[];
  nodeName?: string;
  serviceAccountName?: string;
  imagePullSecrets?: { name: string }[];
}

export interface PodTemplate {
  metadata?: Partial<ObjectMeta>;
  spec: PodSpec;
}

export interface LabelSelector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

export interface WorkloadDetails extends ClusterObject {
  spec: {
    /** 1 where it is absent. */
    replicas?: number;
    selector: LabelSelector;
    template: PodTemplate;
    volumeClaimTemplates?: ClusterObject[];
  };
}

export interface ContainerStatus {
  name: string;
  /** `docker.io/chatwoot/chatwoot@sha256:…`, or `sha256:…`. */
  imageID?: string;
  ready?: boolean;
  restartCount?: number;
  state?: {
    waiting?: { reason?: string; message?: string };
    terminated?: { reason?: string; exitCode?: number };
    running?: object;
  };
}

export interface PodDetails extends ClusterObject {
  spec: PodSpec;
  status?: {
    phase?: string;
    reason?: string;
    conditions?: { type: string; status: string; reason?: string; message?: string }[];
    containerStatuses?: ContainerStatus[];
  };
}

export interface ServiceDetailsOfCluster extends ClusterObject {
  spec: {
    type?: string;
    clusterIP?: string;
    externalName?: string;
    selector?: Record<string, string>;
    ports?: { name?: string; port: number; targetPort?: number | string; protocol?: string }[];
  };
}

export interface ConfigMapDetails extends ClusterObject {
  data?: Record<string, string>;
}

export interface SecretDetails extends ClusterObject {
  type?: string;
  /** In base64. */
  data?: Record<string, string>;
}

export interface ClaimDetails extends ClusterObject {
  spec: { accessModes?: string[] };
}

export interface IngressDetails extends ClusterObject {
  spec: {
    defaultBackend?: IngressBackend;
    tls?: { secretName?: string }[];
    rules?: { http?: { paths?: { backend: IngressBackend }[] } }[];
  };
}

interface IngressBackend {
  service?: { name: string };
}

export interface AutoscalerDetails extends ClusterObject {
  spec: { scaleTargetRef: { kind: string; name: string } };
}

export interface CronJobDetails extends ClusterObject {
  spec: { jobTemplate: { spec: { template: PodTemplate } } };
}

/** autoscaling/v1: how many pods a workload is meant to have, and which are its. */
export interface ScaleDetails extends ClusterObject {
  spec?: { replicas?: number };
  status?: { replicas?: number; selector?: string };
}
