/** The dashboard's one vocabulary of components: whatever a screen shows is made of these. */
export { Button, buttonClass } from "./Button";
export { Code, CopyButton, Kbd, Mono } from "./Code";
export { useChosen } from "./chosen";
export { cx } from "./cx";
export { Confirm, Dialog } from "./Dialog";
export { Checkbox, Input, Moment, Select, Textarea } from "./Field";
export * from "./format";
export { Outdated, type Source, Trouble } from "./Outdated";
export { Card, Facts, Page, STAT_LINK, Stat } from "./Page";
export { Progress } from "./Progress";
export { Search, usePaused } from "./Search";
export { BANNER, EmptyState, ErrorState, Skeleton, sentence } from "./States";
export { StatusBadge, Tag } from "./StatusBadge";
export { useSteady } from "./steady";
export { type Column, Pager, RowActions, Table } from "./Table";
export { Elapsed, Time, useNow } from "./Time";
export { toast } from "./Toast";
