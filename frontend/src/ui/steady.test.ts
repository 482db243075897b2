import { expect, it } from "vitest";
import { steady } from "./steady";

const row = (id: string, status = "queued") => ({ id, status });

it("keeps the order, shows each as it is now, and lets what is new wait", () => {
  const standing = [row("c"), row("b"), row("a")];
  const now = [row("e"), row("d"), row("c", "running"), row("a", "completed")];
  expect(steady(standing, now, ({ id }) => id)).toEqual({
    rows: [row("c", "running"), row("b"), row("a", "completed")],
    waiting: 2,
  });
});
