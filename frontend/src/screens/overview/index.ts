/** Both overviews, loaded as one: what they share would else be one more file to wait for. */
export { OperatorOverview } from "./OperatorOverview";
export { Overview } from "./Overview";
