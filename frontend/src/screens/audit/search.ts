/** What was done to whom, and from where on, in the address. */
import { one } from "../../search";

export interface AuditSearch {
  subject?: string;
  cursor?: string;
}

export function auditSearch(search: Record<string, unknown>): AuditSearch {
  const subject = one(search.subject)?.slice(0, 200);
  const cursor = one(search.cursor);
  return { ...(subject && { subject }), ...(cursor && { cursor }) };
}
