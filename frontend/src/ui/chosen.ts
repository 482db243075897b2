import { useState } from "react";

type Chosen = ReadonlySet<string>;

/** Which of a table's rows are chosen. Those that are no longer on the page are not: nobody would see what is done to them. */
export function useChosen(keys: readonly string[] | undefined): [chosen: Chosen, setChosen: (chosen: Chosen) => void] {
  const [all, setAll] = useState<Chosen>(new Set());
  return [new Set(keys?.filter((key) => all.has(key))), setAll];
}
