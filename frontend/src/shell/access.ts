import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { accessQuery, meQuery, mineQuery, type Right } from "../api/queries";

/** The organization of the page's address. */
export function useOrganization(): string {
  return useParams({ from: "/o/$organization" }).organization;
}

/** Whether Fairlane keeps organizations and members; else the application does, and nobody changes them here. */
export function useIsOurs(): boolean {
  return useQuery(mineQuery).data?.is_complete ?? false;
}

/** Whether one may do something in the page's organization. While nobody knows it, one may not. */
export function useMay(right: Right): boolean {
  const { data } = useQuery(accessQuery(useOrganization()));
  return data?.rights.includes(right) ?? false;
}

/** Whether one may change this job: who is neither admin nor operator may only their own. */
export function useMayChange(job: { user: string | null }): boolean {
  const { data } = useQuery(accessQuery(useOrganization()));
  const { data: me } = useQuery(meQuery);
  return useMay("jobs:change") && (data?.is_full === true || (job.user !== null && job.user === me?.user));
}
