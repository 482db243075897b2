import { useState } from "react";
import { Button, Confirm, Input, Select, toast } from "../../ui";
import { isEmpty, type JobsSearch } from "./filter";
import { forget, keep, views } from "./views";

/** Views that this browser has saved, and the way to save one. */
export function Views({ search, onChoose }: { search: JobsSearch; onChoose: (search: JobsSearch) => void }) {
  const [all, setAll] = useState(views);
  const [isNaming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const { cursor: _, ...current } = search;
  const shown = all.find((view) => JSON.stringify(view.search) === JSON.stringify(current));
  return (
    <>
      {all.length > 0 && (
        <div className="w-40">
          <Select
            label="Saved views"
            hideLabel
            value={shown?.name ?? ""}
            onChange={(event) => {
              const view = all.find((one) => one.name === event.target.value);
              onChoose(view ? view.search : {});
            }}
          >
            <option value="">All jobs</option>
            {all.map((view) => (
              <option key={view.name}>{view.name}</option>
            ))}
          </Select>
        </div>
      )}
      {shown ? (
        <Button onClick={() => setAll(forget(shown.name))}>Forget view</Button>
      ) : (
        !isEmpty(search) && <Button onClick={() => setNaming(true)}>Save view</Button>
      )}
      {isNaming && (
        <Confirm
          open
          title="Save this view"
          action="Save"
          disabled={name.trim() === ""}
          onClose={() => setNaming(false)}
          onConfirm={() => {
            setAll(keep({ name: name.trim(), search }));
            setNaming(false);
            toast("Saved in this browser.");
          }}
        >
          <Input label="Name" required maxLength={60} value={name} onText={setName} />
        </Confirm>
      )}
    </>
  );
}
