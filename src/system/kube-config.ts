/** What of the large client of Kubernetes is used, by name: the single executable then holds nothing else of it. */
export { KubeConfig } from "@kubernetes/client-node";
