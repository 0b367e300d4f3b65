// graphile-worker: 1,000 named queues, each serial.
import { load, chunks } from "./lib.mjs";
import * as plain from "./graphile.mjs";
const { makeWorkerUtils, Logger } = (await load("graphile-worker")).default ?? (await load("graphile-worker"));

export const { setup, work } = plain;
export async function open(dsn) {
  const utils = await makeWorkerUtils({ connectionString: dsn, maxPoolSize: 2, logger: new Logger(() => () => {}) });
  const spec = (payload) => ({ identifier: "noop", payload, queueName: `q${payload.n % 1000}` });
  return {
    enqueueBulk: async (all) => { for (const some of chunks(all, 20000)) await utils.addJobs(some.map(spec)); },
    close: () => utils.release(),
  };
}
