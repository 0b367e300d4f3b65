"""Schedules at run time: added with a customer, looked at, fired by hand, paused, backfilled, removed."""

import asyncio
import os
from datetime import datetime
from zoneinfo import ZoneInfo

import openqueue
from tasks.reports import daily


async def main() -> None:
    async with openqueue.connect(os.environ["OPENQUEUE_DATABASE_URL"]) as oq:
        report = await oq.schedules.add(
            "ada/report", daily, {"kind": "sales"}, cron="30 2 * * MON-FRI", timezone="America/New_York"
        )
        print((await report.info()).meaning)

        try:
            await oq.schedules.add("ada/never", daily, {"kind": "sales"}, cron="0 0 31 2 *")
        except openqueue.InvalidOption as error:
            print("refused:", error.option)

        fired = await oq.schedules.trigger("ada/report")
        if fired.run is not None:
            print((await fired.run.result(timeout="30s")).endswith("by hand"))

        # New York has no 02:30 on 8 March 2026, a Sunday; on the Monday it has.
        zone = ZoneInfo("America/New_York")
        week = datetime(2026, 3, 5, tzinfo=zone), datetime(2026, 3, 10, tzinfo=zone)
        print("backfilled:", (await oq.schedules.backfill("ada/report", *week)).added)
        print("and again:", (await oq.schedules.backfill("ada/report", *week)).added)
        for run in reversed(await report.runs()):
            if run.tick and run.tick.backfill:
                print(await oq.result(run.id, "30s"))

        await oq.schedules.pause("ada/report", "7d", reason="on holiday")
        print((await report.info()).status)
        await oq.schedules.remove("ada/report")


asyncio.run(main())
