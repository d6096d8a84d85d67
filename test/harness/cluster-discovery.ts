/** The kinds of objects that the stand-in for a cluster knows, and how it says so. */

export interface KindOfObject {
  group: string;
  version: string;
  kind: string;
}

export const KINDS: Record<string, KindOfObject> = {
  pods: { group: "", version: "v1", kind: "Pod" },
  services: { group: "", version: "v1", kind: "Service" },
  configmaps: { group: "", version: "v1", kind: "ConfigMap" },
  secrets: { group: "", version: "v1", kind: "Secret" },
  persistentvolumeclaims: { group: "", version: "v1", kind: "PersistentVolumeClaim" },
  deployments: { group: "apps", version: "v1", kind: "Deployment" },
  statefulsets: { group: "apps", version: "v1", kind: "StatefulSet" },
  ingresses: { group: "networking.k8s.io", version: "v1", kind: "Ingress" },
  horizontalpodautoscalers: { group: "autoscaling", version: "v2", kind: "HorizontalPodAutoscaler" },
  cronjobs: { group: "batch", version: "v1", kind: "CronJob" },
};

/** What a server says of itself, so that kubectl knows what it may ask for; undefined for any other path. */
export function discovery(path: string): object | undefined {
  const kinds = Object.entries(KINDS);
  const groups = Map.groupBy(kinds, ([, { group, version }]) =>
    group === "" ? `/api/${version}` : `/apis/${group}/${version}`,
  );
  if (path === "/version") return { major: "1", minor: "34", gitVersion: "v1.34.0" };
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"] };
  if (path === "/apis") {
    const others = [...groups.keys()].filter((name) => name.startsWith("/apis/")).map((name) => name.slice(6));
    return {
      kind: "APIGroupList",
      apiVersion: "v1",
      groups: others.map((groupVersion) => {
        const [name, version] = groupVersion.split("/");
        return { name, versions: [{ groupVersion, version }], preferredVersion: { groupVersion, version } };
      }),
    };
  }
  const found = groups.get(path);
  if (found === undefined) return undefined;
  const verbs = ["get", "list", "patch"];
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: path.replace(/^\/apis?\//, ""),
    resources: found.flatMap(([name, { kind }]) => {
      const whole = { name, singularName: kind.toLowerCase(), namespaced: true, kind, verbs };
      const scale = { ...whole, name: `${name}/scale`, group: "autoscaling", version: "v1", kind: "Scale" };
      return kind === "Deployment" || kind === "StatefulSet" ? [whole, scale] : [whole];
    }),
  };
}
