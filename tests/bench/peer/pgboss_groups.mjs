// pg-boss with groups, `each` of a group at once; what the adapters *_serial, *_pairs and *_stuck share.
import { load, chunks } from "./lib.mjs";
const m = await load("pg-boss");
const PgBoss = m.PgBoss ?? m.default;

export async function start(dsn, options) {
  const boss = new PgBoss({ connectionString: dsn, max: 20, ...options });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  return boss;
}
export async function open(dsn) {
  const boss = await start(dsn, { max: 2, supervise: false, schedule: false, migrate: false });
  const spec = (data) => ({ data, group: { id: `g${data.n % 1000}` } });
  return {
    enqueueBulk: async (all) => { for (const some of chunks(all, 5000)) await boss.insert("q", some.map(spec)); },
    close: () => boss.stop({ graceful: false }),
  };
}
export const workEach = (each) => async (dsn, [batchSize, localConcurrency], handler) => {
  const boss = await start(dsn, { useListenNotify: true });
  const options = { batchSize, localConcurrency, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5, groupConcurrency: each };
  await boss.work("q", options, async (jobs) => { await Promise.all(jobs.map((job) => handler(job.data))); });
  return () => boss.stop({ graceful: true, timeout: 3000 });
};
