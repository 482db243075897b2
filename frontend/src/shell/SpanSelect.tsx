import { useNavigate } from "@tanstack/react-router";
import { SPANS, spanSearch } from "../span";
import { duration, Select } from "../ui";

/** Chooses how far back the screen looks; it stands in the address. */
export function SpanSelect({ minutes }: { minutes: number }) {
  const navigate = useNavigate();
  return (
    <Select
      label="Time"
      hideLabel
      value={minutes}
      onChange={(event) => void navigate({ to: ".", search: spanSearch({ minutes: event.target.value }) })}
    >
      {SPANS.map((span) => (
        <option key={span} value={span}>
          Last {duration(span * 60)}
        </option>
      ))}
    </Select>
  );
}
