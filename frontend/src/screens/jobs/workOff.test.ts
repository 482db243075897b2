import { expect, it } from "vitest";
import type { Schema } from "../../api/client";
import { type Outcome, workOff } from "./workOff";

type Answer = Schema["BulkAnswer"];

function answer(changed: number, next_cursor: string | null, details: string[] = []): Answer {
  const refusals = details.map((detail) => ({ id: "1", type: "t", detail }));
  return {
    matching: null,
    matching_is_capped: false,
    changed,
    passed_over: 0,
    refused: details.length,
    refusals,
    next_cursor,
  };
}

it("goes on from where the request before came to, and adds up", async () => {
  const answers: Record<string, Answer> = {
    start: answer(200, "a", ["not yours"]),
    a: answer(150, "b", ["not yours", "too late"]),
    b: answer(3, null),
  };
  const asked: (string | null)[] = [];
  const told: Outcome[] = [];
  const outcome = await workOff(
    (cursor) => {
      asked.push(cursor);
      return Promise.resolve(answers[cursor ?? "start"] as Answer);
    },
    (so) => told.push(so),
    new AbortController().signal,
  );

  expect(asked).toEqual([null, "a", "b"]);
  expect(outcome).toEqual({ changed: 353, refused: 3, refusals: ["not yours", "too late"] });
  expect(told.map(({ changed }) => changed)).toEqual([200, 350, 353]);
});

it("stops between two requests when its dialog is closed", async () => {
  const abort = new AbortController();
  const outcome = await workOff(
    () => Promise.resolve(answer(1, "again")),
    () => abort.abort(),
    abort.signal,
  );

  expect(outcome.changed).toBe(1);
});
