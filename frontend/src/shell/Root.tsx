import { Outlet } from "@tanstack/react-router";
import { Toasts } from "../ui/Toast";
import { MaintenanceBanner } from "./Maintenance";
import { TooMany } from "./TooMany";

/** Around all screens, the login too. */
export function Root() {
  return (
    <>
      <MaintenanceBanner />
      <TooMany />
      <Outlet />
      <Toasts />
    </>
  );
}
