import { describe, expect, it } from "vitest";
import { lettersSearch } from "./search";

describe("the view in the address", () => {
  it("keeps what was decided, the type and the page", () => {
    const search = { decided: "ignored", job_type: "report", cursor: "abc" };
    expect(lettersSearch(search)).toEqual(search);
  });

  it("leaves out what is usual or makes no sense", () => {
    expect(lettersSearch({ decided: "pending" })).toEqual({});
    expect(lettersSearch({ decided: ["x"], job_type: [], cursor: 3 })).toEqual({});
  });
});
