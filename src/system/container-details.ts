/** What an engine says of a container, as `docker inspect` and the HTTP API both have it: only what is read here. */

export interface ContainerMount {
  /** `volume`, `bind`, `tmpfs` … */
  Type: string;
  /** Of a volume. */
  Name?: string;
  /** Where it is on the engine's machine. */
  Source: string;
  /** Where it is in the container. */
  Destination: string;
}

export interface ContainerNetwork {
  IPAddress?: string;
  Gateway?: string;
  Aliases?: string[] | null;
  DNSNames?: string[] | null;
}

/** `no` or an empty name: it is not started again. */
export interface RestartPolicy {
  readonly Name: string;
  readonly MaximumRetryCount?: number;
}

export interface ContainerDetails {
  Id: string;
  /** RFC 3339. */
  Created?: string;
  /** With a slash before it. */
  Name: string;
  /** The image's id. */
  Image: string;
  State: { Status: string; Running: boolean; ExitCode?: number; Pid?: number };
  Config: {
    /** The image as it was named. */
    Image: string;
    Env?: string[] | null;
    Cmd?: string[] | null;
    Entrypoint?: string[] | null;
    Labels?: Record<string, string> | null;
    WorkingDir?: string;
    Hostname?: string;
  };
  HostConfig?: {
    NetworkMode?: string;
    PidMode?: string;
    Links?: string[] | null;
    ExtraHosts?: string[] | null;
    RestartPolicy?: RestartPolicy;
  };
  Mounts?: ContainerMount[] | null;
  NetworkSettings?: {
    Ports?: Record<string, { HostIp: string; HostPort: string }[] | null> | null;
    Networks?: Record<string, ContainerNetwork | null> | null;
  };
}

export interface ImageDetails {
  Id: string;
  /** `name@sha256:…`, as the registry knows it; none for an image that was made here. */
  RepoTags?: string[] | null;
  RepoDigests?: string[] | null;
  Config?: {
    Env?: string[] | null;
    Cmd?: string[] | null;
    Entrypoint?: string[] | null;
    WorkingDir?: string;
  };
}

export interface ServiceMount {
  Type: string;
  /** The name of a volume, or a folder of the machine. */
  Source?: string;
  Target: string;
}

interface ServiceSpec {
  Name: string;
  Labels?: Record<string, string> | null;
  Mode: { Replicated?: { Replicas?: number } };
  TaskTemplate?: {
    ContainerSpec?: {
      Image?: string;
      /** In place of the image's entrypoint. */
      Command?: string[] | null;
      /** In place of the image's command. */
      Args?: string[] | null;
      Env?: string[] | null;
      Dir?: string;
      /** Those of the containers. */
      Labels?: Record<string, string> | null;
      Mounts?: ServiceMount[] | null;
    };
    Networks?: { Target?: string; Aliases?: string[] | null }[] | null;
  };
}

/** A service of a Swarm. */
export interface ServiceDetails {
  ID: string;
  Version: { Index: number };
  Spec: ServiceSpec;
  /** What it was before its last change. */
  PreviousSpec?: ServiceSpec | null;
  Endpoint?: { Ports?: { TargetPort: number; PublishedPort?: number; Protocol?: string }[] | null };
}

export interface VolumeDetails {
  /** On the engine's machine. */
  Mountpoint: string;
}

export interface NetworkDetails {
  Name?: string;
  /** By the ids of containers; with the length of the prefix. */
  Containers?: Record<string, { IPv4Address?: string }> | null;
}
