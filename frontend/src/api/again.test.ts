import { QueryClient, QueryObserver } from "@tanstack/react-query";
import { expect, it } from "vitest";
import { again } from "./again";

/** A screen whose questions are answered by hand, in any order. */
function screen(queries: QueryClient, queryKey: readonly unknown[]) {
  const asked: { answer: (text: string) => void; fail: (error: Error) => void }[] = [];
  const queryFn = () => new Promise<string>((answer, fail) => asked.push({ answer, fail }));
  const observer = new QueryObserver(queries, {
    queryKey,
    queryFn,
    retry: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  observer.subscribe(() => {});
  return { asked, shown: () => observer.getCurrentResult() };
}

it("asks anew behind a first answer that is on its way, once, and waits for no other", async () => {
  const queries = new QueryClient();
  const { asked, shown } = screen(queries, ["acme", "jobs"]);
  const [slow, other] = [screen(queries, ["acme", "metrics"]), screen(queries, ["globex", "jobs"])];
  const done = [again(queries, ["acme"]), again(queries, ["acme"]), again(queries, ["acme", "jobs"], true)];

  asked[0]?.answer("before");
  await expect.poll(() => asked.length).toBe(2);
  asked[1]?.answer("after");
  await expect.poll(() => shown().data).toBe("after");
  slow.asked[0]?.answer("before");
  await expect.poll(() => slow.asked.length).toBe(2);
  slow.asked[1]?.answer("after");
  await Promise.all(done);
  expect([asked.length, slow.asked.length, other.asked.length]).toEqual([2, 2, 1]);
});

it("asks in place of a later answer that is on its way", async () => {
  const queries = new QueryClient();
  const { asked, shown } = screen(queries, ["jobs", {}]);
  asked[0]?.answer("first");
  await expect.poll(() => shown().data).toBe("first");
  void again(queries, ["jobs", {}], true);
  const done = again(queries, ["jobs", {}], true);

  asked[1]?.answer("before");
  asked[2]?.answer("after");
  await done;
  expect([shown().data, asked.length]).toEqual(["after", 3]);
});

it("leaves alone what failed", async () => {
  const queries = new QueryClient();
  const { asked, shown } = screen(queries, ["jobs", {}]);
  const done = again(queries, ["jobs"]);

  asked[0]?.fail(new Error("away"));
  await done;
  expect([shown().status, asked.length]).toEqual(["error", 1]);
});
