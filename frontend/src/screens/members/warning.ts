/** What to know before an admin is one no more. Pure. */
import type { Schema } from "../../api/client";

type Member = Pick<Schema["Member"], "user" | "role">;

/** Null: they are no admin, or another one is there. `isAll`: these are all members, and not a page of them. */
export function warningOf(
  member: Member,
  members: readonly Member[],
  { isMe, isAll }: { isMe: boolean; isAll: boolean },
): string | null {
  const others = members.some(({ user, role }) => role === "admin" && user !== member.user);
  if (member.role !== "admin" || others) return null;
  const only = isMe ? "You are the only admin" : "They are the only admin";
  return `${isAll ? only : `${only} on this page; if there is no other`}: nobody but an operator could make ${isMe ? "you" : "them"} one again.`;
}
