"""The work: what waits, who could do it, and what keeps it from being done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from shlex import quote

from openqueue.doctor.case import Case
from openqueue.doctor.findings import Finding, Judgement, Row, Rows, Severity
from openqueue.doctor.phrases import ago, count, listed
from openqueue.errors import did_you_mean
from openqueue.runs.attendance import who_is_missing

__all__ = ["judge_backlog", "judge_leader", "judge_pauses", "judge_tasks", "judge_workers", "living"]


def living(rows: Rows, case: Case) -> list[Row]:
    """The workers that take in work, as far as their beats say."""
    return [one for one in rows["workers"] if one["beat_age"] < case.silence and one["state"] != "draining"]


def judge_tasks(rows: Rows, case: Case) -> Judgement:
    """Tasks that are found here, tasks that workers publish, and jobs of tasks that nobody has."""
    alive = living(rows, case)
    known = {row["task"] for row in rows["catalog"]}
    here = set(case.tasks or ())
    findings = [*_not_imported(case), *_unknown(rows, alive, known, here)]
    fresh = sorted(here - known)
    if fresh and alive:
        findings.append(
            Finding(
                Severity.NOTICE,
                f"No worker knows {count(len(fresh), 'task')} that {'is' if len(fresh) == 1 else 'are'}"
                " found here:"
                f" {listed(fresh)}.",
                "Their runs wait until workers with this code have started.",
                ("openqueue worker   # restart the workers with this code",),
                {"tasks": fresh},
            )
        )
    where = f"{len(here)} found in {listed(case.looked_in) or 'no directory'}"
    return Judgement(f"{where}, {len(known)} published by workers", tuple(findings))


def _not_imported(case: Case) -> list[Finding]:
    if case.tasks is not None:
        return []
    return [
        Finding(
            Severity.CRITICAL,
            f"The tasks here cannot be imported: {case.tasks_fault}",
            "A worker with this code does not start.",
            ("openqueue worker --once   # shows the whole traceback",),
        )
    ]


def _unknown(rows: Rows, alive: Sequence[Row], known: set[str], here: set[str]) -> Iterable[Finding]:
    """Jobs of tasks that no worker that lives has published: those wait for ever.

    Where none lives at all (`backlog` tells of that), those of tasks that nobody has ever heard of.
    """
    waiting: dict[str, int] = {}
    for row in rows["doctor_waiting"]:
        waiting[row["task"]] = waiting.get(row["task"], 0) + row["ready"]
    for task, jobs in waiting.items():
        published = [row["seen_at"] for row in rows["catalog"] if _is_called(task, row)]
        if not jobs or (not alive and (published or task in here or not known | here)):
            continue
        if published and any(one["started_at"] <= max(published) for one in alive):
            continue
        near = did_you_mean(task, (known | here) - {task})
        was = " any more" if published else ""
        yield Finding(
            Severity.WARNING,
            f"{count(jobs, 'job')} of task {task} {'waits' if jobs == 1 else 'wait'}, which no worker that"
            " is alive"
            f" publishes{was}.{near}",
            "They wait until a worker comes that has the task; they are never failed for it.",
            (
                "openqueue worker --dir tasks   # where the task is",
                f"openqueue runs list --task {quote(task)} --status queued   # cancel them if it is wrong",
            ),
            {"task": task, "jobs": jobs},
        )


def _is_called(task: str, row: Row) -> bool:
    return bool(row["task"] == task) or f'"{task}"' in row["options"]


def judge_backlog(rows: Rows, case: Case) -> Judgement:
    """Queues with jobs that are ready and that nobody takes, or nobody takes in time."""
    paused = _paused(rows["controls_in_force"])
    queues = _by_queue(rows["doctor_waiting"])
    findings = [] if living(rows, case) else _nobody_at_all(queues, case)
    findings += [
        found
        for queue, waiting in queues.items()
        if not findings
        if ("all", "*") not in paused and ("queue", queue) not in paused
        if (found := _waiting_too_long(queue, waiting, rows, case)) is not None
    ]
    ready = sum(row["ready"] for row in rows["doctor_waiting"])
    capped = any(row["capped"] for row in rows["doctor_waiting"])
    said = f"{count(ready, 'job', capped=capped)} ready in {count(len(queues), 'queue')}"
    return Judgement(said, tuple(findings))


def _by_queue(waiting: Sequence[Row]) -> dict[str, list[Row]]:
    queues: dict[str, list[Row]] = {}
    for row in waiting:
        if row["ready"]:
            queues.setdefault(row["queue"], []).append(row)
    return queues


def _nobody_at_all(queues: Mapping[str, list[Row]], case: Case) -> list[Finding]:
    """Of everything that waits, as no worker is alive."""
    rows = [row for waiting in queues.values() for row in waiting]
    if not rows:
        return []
    ready = sum(row["ready"] for row in rows)
    oldest = max((row["oldest"] for row in rows if row["oldest"] is not None), default=0.0)
    jobs = count(ready, "job", capped=rows[0]["capped"])
    return [
        Finding(
            Severity.CRITICAL if oldest >= case.bounds.unattended else Severity.WARNING,
            f"No worker is alive, and {jobs} {'is' if ready == 1 else 'are'} ready in {listed([*queues])},"
            " the oldest"
            f" for {ago(oldest)}.",
            "They wait until a worker comes.",
            ("openqueue worker",),
            {"queues": [*queues], "ready": ready, "oldest": oldest},
        )
    ]


def _waiting_too_long(queue: str, waiting: list[Row], rows: Rows, case: Case) -> Finding | None:
    ready = sum(row["ready"] for row in waiting)
    oldest = max((row["oldest"] for row in waiting if row["oldest"] is not None), default=0.0)
    details = {"queue": queue, "ready": ready, "oldest": oldest}
    jobs = count(ready, "job", capped=waiting[0]["capped"])
    begun = f"Queue {queue}: {jobs} ready, the oldest for {ago(oldest)}"
    alive = living(rows, case)
    if not any(one["queues"] is None or queue in one["queues"] for one in alive):
        return Finding(
            Severity.CRITICAL if oldest >= case.bounds.unattended else Severity.WARNING,
            f"{begun}, and none of the workers that are alive works on it.",
            "They wait until one comes.",
            (f"openqueue worker --queue {quote(queue)}",),
            details,
        )
    known = [row for row in waiting if not _nobody_for(row, rows, case)]  # the others are told of by `tasks`
    oldest = max((row["oldest"] for row in known if row["oldest"] is not None), default=0.0)
    if not known or oldest < case.bounds.slow:
        return None
    return Finding(
        Severity.WARNING,
        f"{begun}, although workers work on it.",
        "More comes in than is done, or something holds the jobs up.",
        (
            f"openqueue queues show {quote(queue)}   # which limits hold, and what they are at",
            f"openqueue worker --queue {quote(queue)}   # another worker; or raise concurrency",
        ),
        details,
    )


def _nobody_for(row: Row, rows: Rows, case: Case) -> bool:
    return bool(
        who_is_missing(row["task"], row["queue"], rows["workers"], rows["catalog"], silence=case.silence)
    )


def _paused(controls: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {
        (row["kind"], "*" if row["kind"] == "all" else row["name"]): row for row in controls if row["paused"]
    }


def judge_pauses(rows: Rows, _case: Case) -> Judgement:
    """What is paused, and what waits for that."""
    paused = [row for row in rows["controls_in_force"] if row["paused"]]
    findings = tuple(_pause(row, rows["doctor_waiting"]) for row in paused)
    return Judgement(f"{count(len(paused), 'thing')} paused" if paused else "nothing is paused", findings)


def _pause(row: Row, waiting: Sequence[Row]) -> Finding:
    kind, name = row["kind"], row["name"]
    said = quote(name)
    what, waits, resume = {
        "all": ("Everything", lambda _: True, "openqueue queues resume --all"),
        "queue": (f"Queue {name}", lambda one: one["queue"] == name, f"openqueue queues resume {said}"),
        "task": (f"Task {name}", lambda one: one["task"] == name, f"openqueue tasks resume {said}"),
        "group": (
            f"Group {name} of queue {row['queue']}",
            lambda _: False,
            f"openqueue queues resume {quote(row['queue'])} --group {said}",
        ),
    }.get(kind, (f"{kind} {name}", lambda _: False, "openqueue queues"))
    jobs = sum(one["ready"] + one["blocked"] for one in waiting if waits(one))
    until = (
        f"until {row['paused_until']:%Y-%m-%d %H:%M:%S} UTC" if row["paused_until"] else "until it is resumed"
    )
    reason = f" ({row['reason']})" if row["reason"] else ""
    return Finding(
        Severity.WARNING if jobs else Severity.NOTICE,
        f"{what} is paused {until}{reason}"
        + (f", and {count(jobs, 'job')} {'waits' if jobs == 1 else 'wait'} for that." if jobs else "."),
        "Somebody meant it to be so. It is told in case nobody remembers.",
        (resume,),
        {"kind": kind, "name": name, "queue": row["queue"], "jobs": jobs, "until": row["paused_until"]},
    )


def judge_workers(rows: Rows, case: Case) -> Judgement:
    """Workers that stand still, are silent or suspected, and versions side by side."""
    suspected = {row["name"]: row["suspected"] for row in rows["doctor_suspects"]}
    findings = [found for row in rows["workers"] if (found := _worker(row, suspected, case)) is not None]
    alive = living(rows, case)
    versions = sorted({row["version"] for row in alive})
    if len(versions) > 1:
        findings.append(
            Finding(
                Severity.NOTICE,
                f"Workers of {len(versions)} versions work side by side: {', '.join(versions)}.",
                "During a deploy that is as it should be; afterwards somebody was forgotten.",
                ("openqueue workers   # which are the old ones",),
                {"versions": versions},
            )
        )
    return Judgement(f"{count(len(alive), 'worker')} alive", tuple(findings))


def _worker(row: Row, suspected: dict[str, float], case: Case) -> Finding | None:
    where = f"Worker {row['name']} (process {row['pid']} on {row['host']})"
    look = (f"kill -TERM {row['pid']}   # on {row['host']}, if it is still there; its jobs go to others",)
    details = {"worker": row["name"], "host": row["host"], "pid": row["pid"], "state": row["state"]}
    if row["state"] == "stuck":
        return Finding(
            Severity.CRITICAL,
            f"{where} is stuck: its event loop makes no progress, with {count(row['running'], 'run')} in it.",
            "A task blocks the loop (it computes, or waits without await): nothing else of that process"
            " goes on.",
            (
                "# its log names the task and the line: `a task blocks the event loop`; make it a `def`",
                *look,
            ),
            details,
        )
    if row["beat_age"] >= case.silence or row["name"] in suspected:
        held = (
            f", and its session is gone for {ago(suspected[row['name']])}" if row["name"] in suspected else ""
        )
        return Finding(
            Severity.WARNING,
            f"{where} has not been heard of for {ago(row['beat_age'])}{held}.",
            "It is frozen, cut off from the database, or dead; other workers take its jobs over in time."
            " Without another one nobody does.",
            ("openqueue workers", *look),
            details,
        )
    return None


def judge_leader(rows: Rows, case: Case) -> Judgement:
    """Whether somebody fires schedules and sees to the rest, where there are workers."""
    row = next(iter(rows["doctor_leader"]), None)
    if row is not None and row["valid"]:
        return Judgement(f"{row['name'] or row['holder']} leads")
    alive = living(rows, case)
    if not alive:
        return Judgement("nobody leads, as no worker is alive")
    due = len(rows["doctor_schedules"])
    lost = f" The last one's lease ran out {ago(row['expired'])} ago." if row is not None else ""
    return Judgement(
        "nobody leads",
        (
            Finding(
                Severity.CRITICAL if due else Severity.WARNING,
                f"No worker leads this namespace, although {count(len(alive), 'worker is', 'workers are')}"
                f" alive.{lost}",
                f"{count(due, 'schedule')} fire{'s' if due == 1 else ''} nothing; what a leader does"
                " besides is not done.",
                (
                    "openqueue doctor --only listen,transactions   # leading needs a session of its own",
                    "openqueue workers   # then see their logs for `a duty failed`; restart one",
                ),
                {"schedules": due},
            ),
        ),
    )
