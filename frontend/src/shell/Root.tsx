import { Outlet } from "@tanstack/react-router";
import { Toasts } from "../ui/Toast";

/** Around all screens, the login too. */
export function Root() {
  return (
    <>
      <Outlet />
      <Toasts />
    </>
  );
}
