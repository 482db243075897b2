import { describe, expect, it } from "vitest";
import { matching } from "./choices";

const known = {
  entries: [
    { label: "Overview", to: "/o/$organization" },
    { label: "Jobs", to: "/o/$organization/jobs" },
  ],
  organization: "acme",
  isOperator: false,
  organizations: [
    { id: "acme", name: "Acme" },
    { id: "globex", name: "Globex Ltd." },
    { id: "globex", name: "Globex Ltd." },
  ],
};
const labels = (text: string, more = {}) => matching(text, { ...known, ...more }).map((choice) => choice.label);

describe("the palette", () => {
  it("offers all screens and the other organizations, each once", () => {
    expect(labels("")).toEqual(["Overview", "Jobs", "Globex Ltd. (globex)"]);
  });

  it("finds by words in any order, and offers to look for them among the jobs", () => {
    expect(labels("ltd glob")).toEqual(["Globex Ltd. (globex)", "Jobs with “ltd glob”"]);
  });

  it("goes to a job by its id", () => {
    const id = "01928F3A-1b2c-7d4e-8f50-9a6b7c8d9e0f";

    expect(matching(id, known)[0]).toMatchObject({
      to: "/o/$organization/jobs/$job",
      params: { organization: "acme", job: id.toLowerCase() },
    });
  });

  it("offers operators all organizations", () => {
    expect(labels("all", { isOperator: true })).toContain("All organizations");
    expect(labels("all")).not.toContain("All organizations");
  });
});
