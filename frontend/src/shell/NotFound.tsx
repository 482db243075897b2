import { Link } from "@tanstack/react-router";
import { EmptyState, Page } from "../ui";

export function NotFound() {
  return (
    <Page title="Not found">
      <EmptyState
        title="There is no page at this address"
        action={
          <Link to="/" className="text-accent underline">
            Go to the start
          </Link>
        }
      >
        It may belong to an organization that you are not a member of.
      </EmptyState>
    </Page>
  );
}
