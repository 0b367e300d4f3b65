// pg-boss: 1,000 groups, 2 of each at once.
import { workEach } from "./pgboss_groups.mjs";
export { setup } from "./pgboss.mjs";
export { open } from "./pgboss_groups.mjs";
export const work = workEach(2);
