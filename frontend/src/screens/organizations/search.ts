/** Which organizations, in the address. */
export interface OrganizationsSearch {
  text?: string;
  cursor?: string;
}

export function organizationsSearch({ text, cursor }: Record<string, unknown>): OrganizationsSearch {
  return { ...(typeof text === "string" && text && { text }), ...(typeof cursor === "string" && { cursor }) };
}
