import { expect, it } from "vitest";
import { warningOf } from "./warning";

const ana = { user: "ana", role: "admin" } as const;
const ben = { user: "ben", role: "member" } as const;

it("the last admin is told that nobody but an operator makes them one again", () => {
  expect(warningOf(ana, [ana, ben], { isMe: true, isAll: true })).toBe(
    "You are the only admin: nobody but an operator could make you one again.",
  );
  expect(warningOf(ana, [ana, ben], { isMe: false, isAll: true })).toMatch(/^They are the only admin: /);
  expect(warningOf(ana, [ana], { isMe: true, isAll: false })).toMatch(/^You are the only admin on this page; if /);
});

it("others are told nothing", () => {
  expect(warningOf(ben, [ana, ben], { isMe: true, isAll: true })).toBeNull();
  expect(warningOf(ana, [ana, { ...ben, role: "admin" }], { isMe: true, isAll: true })).toBeNull();
});
