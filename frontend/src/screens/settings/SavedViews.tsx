import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { Button, Card } from "../../ui";
import { forget, views } from "../jobs/views";

/** The views of job lists that this browser keeps. */
export function SavedViews({ organization }: { organization: string }) {
  const [all, setAll] = useState(views);
  return (
    <Card title="Saved views">
      {all.length === 0 ? (
        <p className="text-sm text-muted">None yet. Filter the jobs, and save the view there to come back to it.</p>
      ) : (
        <ul className="flex flex-col divide-y divide-line">
          {all.map(({ name, search }) => (
            <li key={name} className="flex items-center justify-between gap-3 py-2 first:pt-0 last:pb-0">
              <Link
                to="/o/$organization/jobs"
                params={{ organization }}
                search={search}
                className="min-w-0 text-sm font-medium break-words hover:underline"
              >
                {name}
              </Link>
              <Button small onClick={() => setAll(forget(name))} aria-label={`Forget the view ${name}`}>
                Forget
              </Button>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
