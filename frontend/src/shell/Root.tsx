import { Outlet } from "@tanstack/react-router";
import { Toasts } from "../ui/Toast";
import { TooMany } from "./TooMany";

/** Around all screens, the login too. */
export function Root() {
  return (
    <>
      <TooMany />
      <Outlet />
      <Toasts />
    </>
  );
}
