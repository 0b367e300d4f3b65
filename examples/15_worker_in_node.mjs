// A worker in Node with nothing but `pg`:  npm install pg; OPENQUEUE_DATABASE_URL=postgresql://… node 15_worker_in_node.mjs
// One session is its life: it holds the worker's lock, beats and listens. When it is gone, so is the worker, to all others, after 3 s.
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

// The tasks: they get their arguments, a signal that tells when to stop, and the job.
const tasks = {
  "node.shout": async ({ text }) => text.toUpperCase(),
  "node.nap": async ({ seconds }, signal) => sleep(seconds * 1000, "rested", { signal }),
  "node.fail": async ({ what }) => { throw new TypeError(`there is no ${what}`); },
};
const concurrency = 10, running = new Map();
let worker, wake = () => {}, stopping = false;

const connectionString = process.env.OPENQUEUE_DATABASE_URL, options = "-c search_path=openqueue";
const life = new pg.Client({ connectionString, options, keepAlive: true });
const pool = new pg.Pool({ connectionString, options, max: 4 });
pool.on("error", () => {}); // an idle connection broke: the next call has another
const lost = (error) => { console.error(`no session any more: ${error.message}`); process.exit(1); }; // who started it starts it again

async function call(text, values) { // what a broken connection leaves open is asked again: no call here does anything twice
  for (;;) {
    try { return (await pool.query(text, values)).rows; }
    catch (error) { if (error.code && !/^(08|53|57)|^E/.test(error.code)) throw error; }
    await sleep(1000);
  }
}

async function beat() {
  const { rows: [heard] } = await life.query("SELECT known, cancels FROM heartbeat($1)", [worker]);
  if (!heard.known) lost(new Error("given up for dead"));
  for (const id of heard.cancels) running.get(id)?.abort();
  await life.query("SELECT count(*) FROM rescue($1)", [worker]);
}

async function run({ id, claim, task, payload }) {
  const stop = new AbortController();
  running.set(id, stop);
  let verdict;
  try {
    const output = (await tasks[task](payload, stop.signal)) ?? null;
    verdict = await call("SELECT complete_job($1, $2, $3, $4) AS said", [worker, id, claim, JSON.stringify(output)]);
  } catch (error) {
    if (!stopping) verdict = await call("SELECT fail_job($1, $2, $3, $4, details => $5) AS said",
      [worker, id, claim, error.message, { type: error.name, traceback: error.stack?.slice(0, 16000) }]);
  }
  running.delete(id);
  console.log(`${task} ${id} ${verdict?.[0].said ?? "released"}`);
  wake();
}

life.on("error", lost).on("end", () => stopping || lost(new Error("it ended")));
life.on("notification", ({ payload }) => { // {"ready": …} or {"cancel": [ids]}
  for (const id of JSON.parse(payload).cancel ?? []) running.get(id)?.abort();
  wake();
});
process.once("SIGTERM", () => { stopping = true; for (const stop of running.values()) stop.abort(); wake(); });
await life.connect();
({ rows: [{ worker }] } = await life.query("SELECT start_worker('node', concurrency => $1) AS worker", [concurrency]));
await life.query("LISTEN openqueue");
await life.query("SELECT set_bells($1, 'default', '{*}')", [worker]);
console.log(`worker ${worker}`);
const beating = setInterval(() => beat().catch(lost), 5000);
for (let claim = 1; !stopping; claim++) {
  const asleep = new Promise((resolve) => { wake = resolve; setTimeout(resolve, 2000).unref(); });
  const free = concurrency - running.size;
  const jobs = free && await call("SELECT * FROM get_jobs($1, $2, $3, claim_number => $4)", [worker, free, Object.keys(tasks), claim]);
  if (stopping) break; // told so meanwhile
  for (const job of jobs || []) run(job);
  if (!jobs?.length) await asleep; // rung out of it by the bell, or by a place that is free again
}
while (running.size) await sleep(50);
clearInterval(beating);
await life.query("SELECT leave_worker($1)", [worker]); // what it still holds goes back, uncounted
await Promise.all([life.end(), pool.end()]);
