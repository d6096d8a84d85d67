/** What a manifest of roles and bindings grants. */
import { parseAllDocuments } from "yaml";

interface Rule {
  apiGroups: string[];
  resources: string[];
  verbs: string[];
}

interface RbacObject {
  kind: string;
  metadata: { name: string };
  rules?: Rule[];
  roleRef?: { kind: string; name: string };
  subjects?: { kind: string; name: string; namespace?: string }[];
}

export interface Right {
  id: string;
  group: string;
  resource: string;
  verb: string;
}

/** What the service account `chatkeep` of a namespace may do. Format: rbac.authorization.k8s.io/v1. */
export function rightsIn(manifest: string, namespace: string): Right[] {
  const objects = parseAllDocuments(manifest).map((document) => document.toJS() as RbacObject);
  const accounts = objects.filter(({ kind }) => kind === "ServiceAccount").map(({ metadata }) => metadata.name);
  const bindings = objects.filter(
    ({ kind, subjects = [] }) =>
      kind === "RoleBinding" &&
      subjects.some(
        (one) => one.kind === "ServiceAccount" && accounts.includes(one.name) && one.namespace === namespace,
      ),
  );
  return bindings.flatMap(({ roleRef }) => {
    const role = objects.find(({ kind, metadata }) => kind === roleRef?.kind && metadata.name === roleRef.name);
    return (role?.rules ?? []).flatMap(({ apiGroups, resources, verbs }, index) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) =>
          verbs.map((verb) => ({
            id: `Role/${role?.metadata.name}#${index} ${group} ${resource} ${verb}`,
            group,
            resource,
            verb,
          })),
        ),
      ),
    );
  });
}
