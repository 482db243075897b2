import { describe, expect, it } from "vitest";
import { matching, partOfId } from "./choices";

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
  jobs: [],
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

  it("goes to a job by the part of its id that lists show, where only one has it", () => {
    const job = { id: "01928f3a-1b2c-7d4e-8f50-9a6b7c8d9e0f", job_type: "report" };

    expect(matching("7C8d9e0f", { ...known, jobs: [job] })).toEqual([
      {
        kind: "Job",
        label: `report ${job.id}`,
        to: "/o/$organization/jobs/$job",
        params: { organization: "acme", job: job.id },
      },
    ]);
    expect(labels("7c8d9e0f", { jobs: [job, { ...job, id: "another" }] })).toEqual(["Jobs with “7c8d9e0f”"]);
    expect(labels("7c8d9e0f")).toEqual(["Jobs with “7c8d9e0f”"]);
    expect([partOfId(" 7C8D9E0F"), partOfId("decade"), partOfId("7c8d9e0g")]).toEqual(["7c8d9e0f", null, null]);
  });

  it("offers operators all organizations", () => {
    expect(labels("all", { isOperator: true })).toContain("All organizations");
    expect(labels("all")).not.toContain("All organizations");
  });
});
