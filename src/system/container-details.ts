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
  HostConfig?: { NetworkMode?: string; PidMode?: string; Links?: string[] | null; ExtraHosts?: string[] | null };
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
  Config?: { Env?: string[] | null };
}

/** A service of a Swarm. */
export interface ServiceDetails {
  ID: string;
  Version: { Index: number };
  Spec: {
    Name: string;
    Mode: { Replicated?: { Replicas?: number } };
    TaskTemplate?: {
      ContainerSpec?: { Image?: string };
      Networks?: { Aliases?: string[] | null }[] | null;
    };
  };
  Endpoint?: { Ports?: { TargetPort: number; PublishedPort?: number; Protocol?: string }[] | null };
}

export interface NetworkDetails {
  /** By the ids of containers; with the length of the prefix. */
  Containers?: Record<string, { IPv4Address?: string }> | null;
}
