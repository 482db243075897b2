import { expect, it } from "vitest";
import { alertOf } from "./alerts";

const told = { room: "org:acme", cursor: "1", organization: "acme", at: "2026-11-26T12:00:00Z" };

it("an alert says whose it is, and how much", () => {
  expect(alertOf({ ...told, name: "dead_letter_alert", depth: 1200, threshold: 50 })).toContain("acme has 1,200 dead");
  expect(alertOf({ ...told, name: "queue_limit_warning", live: 400, limit: 500 })).toContain("400 live jobs");
});

it("what happens all day is no alert", () => {
  expect(alertOf({ ...told, name: "job_progress", job_id: "x", attempt: 1, percent: 3, message: null })).toBeNull();
});
