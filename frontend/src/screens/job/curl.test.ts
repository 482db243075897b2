import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { read } from "../../api/json";
import { curl } from "./curl";

it("says to a shell just what the job is, whatever its parameters hold", () => {
  const parameters = { text: 'it\'s $(rm -rf /) `id` "quoted" \\ \n!' };
  const command = curl("http://127.0.0.1:8000/", {
    organization: "acme & co",
    job_type: "report",
    parameters,
    priority: "high",
    queue: "default",
    labels: {},
  });
  const heard = execFileSync("sh", ["-c", command.replace("curl", "printf '%s\\0'")], { env: { FAIRLANE_TOKEN: "t" } });
  const words = heard.toString().split("\0");

  expect(words[0]).toBe("http://127.0.0.1:8000/api/v1/organizations/acme%20%26%20co/jobs");
  expect(words[2]).toBe("Authorization: Bearer t");
  expect(JSON.parse(words[6] ?? "")).toEqual({ job_type: "report", parameters, priority: "high", queue: "default" });
});

it("says integers as they are, also those that a browser would round", () => {
  const parameters = read('{"account": 9007199254740993}') as Record<string, unknown>;
  const job = { organization: "acme", job_type: "report", parameters, priority: "high", queue: "default", labels: {} };

  expect(curl("http://127.0.0.1:8000/", job as Parameters<typeof curl>[1])).toContain('"account":9007199254740993');
});
