/** The menu's entries, in their order. Where one leads into an organization, the shell adds which. */
import type { Right } from "../api/queries";

export interface Entry {
  label: string;
  to: string;
  /** Only for those who may. */
  right?: Right;
  /** The key that goes there after "g". */
  key?: string;
}

export const ORGANIZATION_MENU: readonly Entry[] = [
  { label: "Overview", to: "/o/$organization", key: "o" },
  { label: "Jobs", to: "/o/$organization/jobs", key: "j" },
];

export const OPERATOR_MENU: readonly Entry[] = [{ label: "Organizations", to: "/operator", key: "o" }];
