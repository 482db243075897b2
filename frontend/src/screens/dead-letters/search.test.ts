import { describe, expect, it } from "vitest";
import { lettersSearch } from "./search";

describe("the view in the address", () => {
  it("keeps what was decided and the page", () => {
    expect(lettersSearch({ decided: "ignored", cursor: "abc" })).toEqual({ decided: "ignored", cursor: "abc" });
  });

  it("leaves out what is usual or makes no sense", () => {
    expect(lettersSearch({ decided: "pending" })).toEqual({});
    expect(lettersSearch({ decided: ["x"], cursor: 3 })).toEqual({});
  });
});
