import { PLATFORM } from "./menu";

/** An organization's id in a table, in one line where there is room for it. The title has all of an id that is cut. */
export function OrganizationId({ organization }: { organization: string }) {
  return (
    <span title={organization} className="block sm:max-w-48 sm:truncate lg:max-w-80">
      {organization === PLATFORM ? "platform" : organization}
    </span>
  );
}
