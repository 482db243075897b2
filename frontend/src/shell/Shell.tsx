import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useRouteContext } from "@tanstack/react-router";
import { type ReactNode, useEffect, useRef, useState } from "react";
import { accessQuery, organizationQuery } from "../api/queries";
import { alertOf } from "../live/alerts";
import type { Event } from "../live/events";
import { useHears, useOperatorEvents, useOrganizationEvents } from "../live/hooks";
import { remember } from "../settings";
import { Button, cx, EmptyState, ErrorState, Page, Skeleton, StatusBadge, toast } from "../ui";
import { Account } from "./Account";
import { useIsOurs, useOrganization } from "./access";
import { LiveMark } from "./LiveMark";
import { Logo } from "./Logo";
import { type Entry, OPERATOR_MENU, ORGANIZATION_MENU } from "./menu";
import { Palette } from "./Palette";
import { useShortcuts } from "./shortcuts";

function sayAlert(event: Event): void {
  const said = alertOf(event);
  if (said !== null) toast(said, { bad: true });
}

/** Screens of one organization. */
export function InOrganization() {
  const organization = useOrganization();
  const access = useQuery({
    ...accessQuery(organization),
    // One may be let in again; while nothing of it is shown, no event tells.
    refetchInterval: ({ state }) => (state.data === null ? 10_000 : false),
  });
  const self = useQuery(organizationQuery(organization));
  useOrganizationEvents(organization, sayAlert);
  const hears = useHears(organization);
  useEffect(() => remember("organization", organization), [organization]);
  const rights = access.data?.rights ?? [];
  const isGone = access.data === null;
  const entries = isGone ? [] : ORGANIZATION_MENU.filter((entry) => !entry.right || rights.includes(entry.right));
  const status = self.data?.status === "active" ? (self.data.paused ? "paused" : null) : self.data?.status;
  return (
    <Frame
      entries={entries}
      organization={organization}
      name={self.data?.name ?? organization}
      mark={status ? <StatusBadge status={status} /> : null}
      banner={access.data?.is_operator ? <OperatorBanner organization={organization} /> : null}
    >
      {isGone ? (
        <Gone />
      ) : access.data && hears ? (
        <Outlet />
      ) : access.error ? (
        <ErrorState error={access.error} onRetry={() => void access.refetch()} />
      ) : (
        <Skeleton rows={6} />
      )}
    </Frame>
  );
}

/** An organization that is not there, or not for this user. */
function Gone() {
  const isOurs = useIsOurs();
  return (
    <Page title="Organization">
      <EmptyState title="There is no such organization, or you are not a member of it">
        {`Choose another one above, or ask ${isOurs ? "an admin of it to add you" : "where your application keeps its members"}.`}
      </EmptyState>
    </Page>
  );
}

/** Screens of operators. */
export function InOperator() {
  const { me } = useRouteContext({ from: "/operator" });
  useOperatorEvents(sayAlert);
  return (
    <Frame
      entries={me.is_operator ? OPERATOR_MENU : []}
      organization={null}
      name="All organizations"
      banner={me.is_operator ? <OperatorBanner /> : null}
    >
      {me.is_operator ? (
        <Outlet />
      ) : (
        <Page title="For operators">
          <EmptyState title="This part is for operators">Choose an organization above to see its jobs.</EmptyState>
        </Page>
      )}
    </Frame>
  );
}

function OperatorBanner({ organization }: { organization?: string }) {
  return (
    <aside
      aria-label="Operator"
      className="border-b border-line bg-warn-soft px-4 py-1.5 text-center text-xs text-warn"
    >
      You act as an operator{organization === undefined ? " on all organizations" : ""}; what you do is written into the
      audit.
    </aside>
  );
}

interface FrameProps {
  entries: readonly Entry[];
  organization: string | null;
  name: string;
  mark?: ReactNode;
  banner?: ReactNode;
  children: ReactNode;
}

/** Header, menu and the screen. */
function Frame({ entries, organization, name, mark, banner, children }: FrameProps) {
  const [isPaletteOpen, setPaletteOpen] = useState(false);
  const { pathname } = useLocation();
  // On the page on which it was opened: on the next one it would hide half of that.
  const [menuAt, setMenuAt] = useState<string | null>(null);
  const isMenuOpen = menuAt === pathname;
  if (menuAt !== null && !isMenuOpen) setMenuAt(null); // for good: one may come back
  const menuButton = useRef<HTMLButtonElement>(null);
  const closeMenu = () => {
    if (!isMenuOpen) return;
    setMenuAt(null);
    menuButton.current?.focus(); // what has it is hidden now
  };
  const main = useRef<HTMLElement>(null);
  useShortcuts(entries, organization, () => setPaletteOpen(true), closeMenu);
  return (
    <div className="min-h-dvh">
      <button
        type="button"
        className="sr-only z-50 rounded-md bg-raised px-3 py-2 text-sm focus:not-sr-only focus:fixed focus:top-2 focus:left-2"
        onClick={() => main.current?.focus()}
      >
        Skip to content
      </button>
      {banner}
      <header className="sticky top-0 z-30 flex h-12 items-center gap-2 border-b border-line bg-surface px-3 sm:gap-3 sm:px-4">
        <Button
          ref={menuButton}
          look="quiet"
          small
          className="md:hidden"
          aria-expanded={isMenuOpen}
          aria-controls="menu"
          onClick={() => setMenuAt(isMenuOpen ? null : pathname)}
        >
          Menu
        </Button>
        <Link to="/" className="hidden items-center gap-2 font-semibold tracking-tight sm:flex">
          <Logo />
          <span className="hidden lg:inline">Fairlane</span>
        </Link>
        <span aria-hidden className="hidden text-line sm:inline">
          /
        </span>
        <button
          type="button"
          className="flex min-w-0 items-center gap-1.5 rounded-md px-2 py-1 text-sm font-medium hover:bg-hover"
          onClick={() => setPaletteOpen(true)}
        >
          <span className="sr-only">Organization: </span>
          <span className="truncate">{name}</span>
          <span aria-hidden className="text-muted">
            ⌄
          </span>
        </button>
        {mark}
        <div className="ml-auto flex items-center gap-2 sm:gap-3">
          {entries.length > 0 && <LiveMark of={organization === null ? "operator" : "organization"} />}
          <span className="hidden sm:contents">
            <Button small className="text-muted" onClick={() => setPaletteOpen(true)}>
              Go to… <kbd className="font-sans text-[0.6875rem]">Ctrl K</kbd>
            </Button>
          </span>
          <Account />
        </div>
      </header>
      <div className="md:flex">
        <Menu
          entries={entries}
          organization={organization}
          open={isMenuOpen}
          onGo={closeMenu}
          onSeek={() => setPaletteOpen(true)}
        />
        <main ref={main} tabIndex={-1} className="min-w-0 flex-1 outline-none">
          {children}
        </main>
      </div>
      <Palette
        open={isPaletteOpen}
        onClose={() => setPaletteOpen(false)}
        entries={entries}
        organization={organization}
      />
    </div>
  );
}

function Menu({
  entries,
  organization,
  open,
  onGo,
  onSeek,
}: {
  entries: readonly Entry[];
  organization: string | null;
  open: boolean;
  onGo: () => void;
  onSeek: () => void;
}) {
  return (
    <nav
      id="menu"
      aria-label="Menu"
      className={cx(
        "border-line bg-canvas md:block md:min-h-[calc(100dvh-3rem)] md:w-48 md:shrink-0 md:border-r",
        open ? "block border-b" : "hidden",
      )}
    >
      <ul className="flex flex-col gap-0.5 p-2 md:sticky md:top-12 md:max-h-[calc(100dvh-3rem)] md:overflow-y-auto">
        <li className="sm:hidden">
          <button
            type="button"
            onClick={() => {
              onGo();
              onSeek();
            }}
            className="w-full rounded-md px-2.5 py-1.5 text-left text-sm text-muted hover:bg-hover hover:text-ink"
          >
            Go to…
          </button>
        </li>
        {entries.map((entry) => (
          <li key={entry.to}>
            <Link
              to={entry.to}
              params={{ organization: organization ?? "" }}
              activeOptions={{
                exact: entry.to === "/o/$organization" || entry.to === "/operator",
                includeSearch: false,
              }}
              onClick={onGo}
              className="block rounded-md px-2.5 py-1.5 text-sm text-muted hover:bg-hover hover:text-ink aria-[current=page]:bg-accent-soft aria-[current=page]:font-medium aria-[current=page]:text-accent"
            >
              {entry.label}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
