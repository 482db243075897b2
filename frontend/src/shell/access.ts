import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { accessQuery, type Right } from "../api/queries";

/** The organization of the page's address. */
export function useOrganization(): string {
  return useParams({ from: "/o/$organization" }).organization;
}

/** Whether one may do something in the page's organization. While nobody knows it, one may not. */
export function useMay(right: Right): boolean {
  const { data } = useQuery(accessQuery(useOrganization()));
  return data?.rights.includes(right) ?? false;
}
