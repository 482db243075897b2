import { Page } from "../../ui";
import { Appearance } from "./Appearance";
import { Password } from "./Password";

/** What operators choose for themselves. */
export function OperatorSettings() {
  return (
    <Page title="Settings">
      <div className="flex max-w-2xl flex-col gap-5">
        <Appearance />
        <Password />
      </div>
    </Page>
  );
}
