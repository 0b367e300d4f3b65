// graphile-worker: 100,000 jobs of each of two named queues that are locked, in front of plain ones.
import { load, chunks } from "./lib.mjs";
import * as plain from "./graphile.mjs";
const { makeWorkerUtils, Logger } = (await load("graphile-worker")).default ?? (await load("graphile-worker"));
const pg = await load("pg");
const Client = (pg.default ?? pg).Client;

export const { open, work } = plain;
export async function setup(dsn) {
  await plain.setup(dsn);
  const utils = await makeWorkerUtils({ connectionString: dsn, maxPoolSize: 2, logger: new Logger(() => () => {}) });
  const stuck = Array.from({ length: 200000 }, (_, n) => ({ identifier: "noop", payload: { n }, queueName: `stuck${n % 2}` }));
  for (const some of chunks(stuck, 20000)) await utils.addJobs(some);
  await utils.release();
  const db = new Client({ connectionString: dsn });
  await db.connect();
  await db.query("UPDATE graphile_worker._private_job_queues SET locked_at = now(), locked_by = 'elsewhere'");
  await db.end();
}
