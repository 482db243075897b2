import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { read } from "../../api/json";
import { curl } from "./curl";

const JOB = {
  organization: "acme",
  job_type: "report",
  parameters: {},
  priority: "high",
  queue: "default",
  labels: {},
  created_at: "2026-11-01T12:00:00Z",
  run_at: "2026-11-01T12:00:00.2Z",
  depends_on: [],
  max_retries: 3,
  timeout: null,
} as const satisfies Parameters<typeof curl>[1];

it("says to a shell just what the job is, whatever its parameters hold", () => {
  const parameters = { text: 'it\'s $(rm -rf /) `id` "quoted" \\ \n!' };
  const command = curl("http://127.0.0.1:8000/", { ...JOB, organization: "acme & co", parameters });
  const heard = execFileSync("sh", ["-c", command.replace("curl", "printf '%s\\0'")], { env: { FAIRLANE_TOKEN: "t" } });
  const words = heard.toString().split("\0");

  expect(words[0]).toBe("http://127.0.0.1:8000/api/v1/organizations/acme%20%26%20co/jobs");
  expect(words[2]).toBe("Authorization: Bearer t");
  expect(JSON.parse(words[6] ?? "")).toEqual({
    job_type: "report",
    parameters,
    priority: "high",
    queue: "default",
    max_retries: 3,
    timeout: null,
  });
});

it("says when the job starts at the earliest, what it waits for and how it is retried", () => {
  const asked = { run_at: "2026-12-24T17:00:00Z", depends_on: ["01928f3a"], max_retries: null, timeout: 90 };
  const [, body] = /-d '(.*)'$/s.exec(curl("http://127.0.0.1:8000/", { ...JOB, ...asked })) ?? [];

  expect(JSON.parse(body ?? "")).toMatchObject(asked);
});

it("says integers as they are, also those that a browser would round", () => {
  const parameters = read('{"account": 9007199254740993}') as Record<string, unknown>;

  expect(curl("http://127.0.0.1:8000/", { ...JOB, parameters })).toContain('"account":9007199254740993');
});
