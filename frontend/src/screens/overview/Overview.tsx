import { useOrganization } from "../../shell/access";
import { Page } from "../../ui";

/** How the organization's jobs are doing. */
export function Overview() {
  return <Page title={useOrganization()}>{null}</Page>;
}
