import { Page } from "../../ui";
import { Appearance } from "./Appearance";

/** What operators choose for themselves. */
export function OperatorSettings() {
  return (
    <Page title="Settings">
      <div className="max-w-2xl">
        <Appearance />
      </div>
    </Page>
  );
}
