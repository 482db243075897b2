import { describe, expect, it } from "vitest";
import { inside } from "./search";

describe("where to go after the login", () => {
  const base = new URL("https://jobs.example/tools/jobs/");

  it.each([
    [undefined, "/tools/jobs/"],
    ["/o/acme/jobs?text=a", "/tools/jobs/o/acme/jobs?text=a"],
    ["//evil.example/", "/tools/jobs/evil.example/"],
    ["/\\evil.example/", "/tools/jobs/evil.example/"],
    ["https://evil.example/tools/jobs/", "/tools/jobs/"],
    ["javascript:alert(1)", "/tools/jobs/"],
    ["/../../evil", "/tools/jobs/"],
    ["http://[", "/tools/jobs/"],
  ])("%s leads to %s", (next, expected) => {
    expect(inside(next, base)).toBe(expected);
  });
});
