import type { Query, QueryClient } from "@tanstack/react-query";

/** First answers on their way, behind which somebody asks again already. */
const awaited = new WeakSet<Query>();

/**
 * Ask again for all that is shown below a key, or for what has exactly this one; ends when all of it was answered.
 *
 * A first answer that is on its way is asked for anew once it is here: the library has that one stand for it, which was
 * written before what one knows now.
 */
export async function again(queries: QueryClient, queryKey: readonly unknown[], exact = false): Promise<void> {
  const filters = { queryKey, exact };
  const onTheirWay = queries.getQueryCache().findAll({ ...filters, fetchStatus: "fetching" });
  const firsts = onTheirWay.filter((one) => one.state.data === undefined && !awaited.has(one));
  await Promise.all([queries.invalidateQueries(filters), ...firsts.map((one) => behind(queries, one))]);
}

async function behind(queries: QueryClient, first: Query): Promise<void> {
  awaited.add(first);
  await first.promise?.catch(() => {}); // its error is shown, and asked about, as any
  awaited.delete(first);
  if (first.state.data !== undefined) await queries.invalidateQueries({ predicate: (one) => one === first });
}
