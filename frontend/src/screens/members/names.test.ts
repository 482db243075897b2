import { expect, it } from "vitest";
import { namesOf } from "./names";

it.each([
  ["", []],
  ["reports", ["reports"]],
  [" a, b ,a,, ", ["a", "b"]],
])("%j are the names %j", (text, names) => expect(namesOf(text)).toEqual(names));
