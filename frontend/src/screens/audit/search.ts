/** From where on, in the address. */
export interface AuditSearch {
  cursor?: string;
}

export function auditSearch({ cursor }: Record<string, unknown>): AuditSearch {
  return typeof cursor === "string" ? { cursor } : {};
}
