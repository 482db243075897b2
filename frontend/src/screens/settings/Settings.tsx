import { useQuery } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { useAct } from "../../api/act";
import { api, ask, type Schema } from "../../api/client";
import { organizationQuery, within } from "../../api/queries";
import { useMay, useOrganization } from "../../shell/access";
import {
  Button,
  Card,
  count,
  duration,
  Facts,
  Input,
  Page,
  Skeleton,
  StatusBadge,
  sentence,
  Time,
  Trouble,
} from "../../ui";
import { Appearance } from "./Appearance";
import { Password } from "./Password";
import { SavedViews } from "./SavedViews";

/** An organization's settings, and those of this browser. */
export function Settings() {
  const organization = useOrganization();
  const found = useQuery(organizationQuery(organization));
  const mayChange = useMay("organization:change");
  return (
    <Page title="Settings">
      <div className="grid gap-5 lg:grid-cols-2">
        <Card title="Organization">
          <Trouble source={found} className="mb-4" />
          {found.data ? (
            <div className="flex flex-col gap-5">
              {mayChange && <Name key={found.data.name} organization={organization} name={found.data.name} />}
              <Facts
                items={[
                  ["Id", found.data.id],
                  ["Status", <StatusBadge key="status" status={statusOf(found.data)} />],
                  ["Weight", count(found.data.weight)],
                  ["Running at once", unlimited(found.data.max_running)],
                  ["Live jobs", unlimited(found.data.max_live_jobs)],
                  [
                    "Ended jobs kept",
                    found.data.retention === null ? "as their type says" : duration(found.data.retention),
                  ],
                  ["Created", <Time key="created" at={found.data.created_at} />],
                ]}
              />
              <p className="text-xs text-muted">Weight and limits are set by operators.</p>
            </div>
          ) : (
            !found.error && <Skeleton />
          )}
        </Card>
        <div className="flex flex-col gap-5">
          <Appearance />
          <SavedViews organization={organization} />
          <Password />
        </div>
      </div>
    </Page>
  );
}

/** One that is suspended may be paused beside that. */
function statusOf({ status, paused }: Schema["Organization"]): string {
  return status === "active" && paused ? "paused" : status;
}

function unlimited(value: number | null): string {
  return value === null ? "unlimited" : count(value);
}

function Name({ organization, name }: { organization: string; name: string }) {
  const [text, setText] = useState(name);
  const save = useAct({
    run: () =>
      ask(
        api.PATCH("/api/v1/organizations/{organization}", {
          params: { path: { organization } },
          body: { name: text.trim() },
        }),
      ),
    done: "The name was changed.",
    touches: [within(organization, "self"), ["mine"]],
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    save.mutate();
  };
  return (
    <form onSubmit={submit} className="flex flex-wrap items-end gap-2">
      <div className="min-w-0 flex-1">
        <Input
          label="Name"
          required
          maxLength={200}
          value={text}
          onText={setText}
          error={save.error ? sentence(save.error) : null}
        />
      </div>
      <Button type="submit" busy={save.isPending} disabled={text.trim() === "" || text.trim() === name}>
        Save
      </Button>
    </form>
  );
}
