import { describe, expect, it } from "vitest";
import { remarks, withoutWorker } from "./holds";

const gpu = {
  queue: "gpu",
  holds: [{ code: "no_worker_for_queue" as const, job_types: ["video.render"], jobs: 3 }],
};
const mixed = {
  queue: "default",
  holds: [
    { code: "breaker_open" as const, job_types: ["a", "b", "c", "d"], jobs: 65 },
    { code: "no_worker_for_job_type" as const, job_types: ["old"], jobs: 1 },
    { code: "queue_paused" as const, job_types: ["a"], jobs: 2 },
  ],
};

describe("what keeps jobs of a queue", () => {
  it("stands beside its name", () => {
    expect(remarks(gpu)).toEqual(["3 jobs can't start: no worker serves it"]);
    expect(remarks(mixed)).toEqual([
      "65 jobs can't start: too much of a, b, c and 1 more failed",
      "1 job can't start: no worker can run old",
    ]);
  });

  it("is told of all queues where no worker is there for it", () => {
    expect(withoutWorker([gpu, mixed])).toEqual([
      "No worker serves queue gpu: 3 jobs wait until such a one is started.",
      "No worker of queue default can run old: 1 job waits until such a one is started.",
    ]);
    expect(withoutWorker([{ queue: "mail", holds: [] }])).toEqual([]);
  });

  it("is told once where no worker is alive", () => {
    const none = ["mail", "gpu"].map((queue) => ({
      queue,
      holds: [{ code: "no_worker" as const, job_types: ["a"], jobs: 30 }],
    }));
    expect(withoutWorker(none)).toEqual(["No worker is alive: 60 jobs wait until one is started."]);
  });
});
