import type { QueryClient } from "@tanstack/react-query";

/**
 * Ask again for all that is shown below a key, or for what has exactly this one; ends when all of it was answered.
 *
 * A first answer that is on its way is asked for anew once it is here: the library has that one stand for it, which was
 * written before what one knows now.
 */
export async function again(queries: QueryClient, queryKey: readonly unknown[], exact = false): Promise<void> {
  const filters = { queryKey, exact };
  const onTheirWay = queries.getQueryCache().findAll({ ...filters, fetchStatus: "fetching" });
  const firsts = new Set(onTheirWay.filter(({ state }) => state.data === undefined));
  await queries.invalidateQueries(filters);
  if (firsts.size > 0) await queries.invalidateQueries({ predicate: (query) => firsts.has(query) });
}
