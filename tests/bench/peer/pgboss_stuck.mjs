// pg-boss: 100,000 jobs of each of two groups that are full, in front of plain ones.
import { load, chunks } from "./lib.mjs";
import * as plain from "./pgboss.mjs";
import { start, workEach } from "./pgboss_groups.mjs";
const pg = await load("pg");
const Client = (pg.default ?? pg).Client;

export const { open } = plain;
export const work = workEach(1);
export async function setup(dsn) {
  await plain.setup(dsn);
  const boss = await start(dsn, {});
  const stuck = Array.from({ length: 200000 }, (_, n) => ({ data: { n }, group: { id: `stuck${n % 2}` } }));
  for (const some of chunks(stuck, 5000)) await boss.insert("q", some);
  await boss.stop({ graceful: false });
  const db = new Client({ connectionString: dsn });
  await db.connect();
  await db.query(`
    UPDATE pgboss.job SET state = 'active', started_on = now()
    WHERE id IN (SELECT DISTINCT ON (group_id) id FROM pgboss.job WHERE group_id LIKE 'stuck%')`);
  await db.end();
}
