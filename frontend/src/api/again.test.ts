import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, it } from "vitest";
import { again } from "./again";

/** A screen whose questions are answered by hand, in any order. */
function screen(queries: QueryClient, queryKey: readonly unknown[]) {
  const asked: ((answer: string) => void)[] = [];
  const queryFn = () => new Promise<string>((answer) => asked.push(answer));
  const observer = new QueryObserver(queries, { queryKey, queryFn, staleTime: Number.POSITIVE_INFINITY });
  observer.subscribe(() => {});
  return { asked, shown: () => observer.getCurrentResult().data };
}

it("asks anew behind a first answer that is on its way, once", async () => {
  const queries = new QueryClient();
  const { asked, shown } = screen(queries, ["jobs", {}]);
  const other = screen(queries, ["members"]);
  const done = again(queries, ["jobs"]);

  asked[0]?.("before");
  await expect.poll(() => asked.length).toBe(2);
  asked[1]?.("after");
  await done;
  expect([shown(), asked.length, other.asked.length]).toEqual(["after", 2, 1]);
});

it("asks in place of a later answer that is on its way", async () => {
  const queries = new QueryClient();
  const { asked, shown } = screen(queries, ["jobs", {}]);
  asked[0]?.("first");
  await expect.poll(shown).toBe("first");
  void again(queries, ["jobs", {}], true);
  const done = again(queries, ["jobs", {}], true);

  asked[1]?.("before");
  asked[2]?.("after");
  await done;
  expect([shown(), asked.length]).toEqual(["after", 3]);
});
