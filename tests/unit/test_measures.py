"""What is counted of events, how it is added up and written, and that nothing is counted unasked."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from uuid import UUID

import pytest
from prometheus_client.parser import text_string_to_metric_families

from openqueue.cluster.events import LeaderElected
from openqueue.events import Events
from openqueue.telemetry.depth import Waiting, by_queue
from openqueue.telemetry.exposition import Exposition
from openqueue.telemetry.health import Facts
from openqueue.telemetry.measures import MEASURES, MOST, OTHER, Measure, Measures
from openqueue.telemetry.tally import Sums, Tally
from openqueue.worker.events import (
    JobsClaimed,
    RunFinished,
    RunStarted,
    WorkerStopped,
)

RUN = UUID(int=1)


def page(tally: Tally, waiting: Waiting | None = None) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What Prometheus reads of it: samples by name and labels."""
    facts = Facts("running", database=True, running=3, loop_idle=0.25, worker="w")
    shown = Exposition(tally.copy, lambda: facts, lambda: waiting or Waiting(up=True), "9.9").page("")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(shown[0].decode())
        for sample in family.samples
    }


def of(samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def ended(task: str = "t", outcome: str = "completed", seconds: float = 0.02) -> RunFinished:
    return RunFinished(RUN, task, "q", 1, outcome, seconds, None, None)


def test_runs_are_counted_by_queue_task_and_outcome_with_how_long_they_took() -> None:
    bus, measures = Events(), Measures()
    measures.subscribe(bus)
    due = datetime.now(UTC) - timedelta(seconds=20)
    bus.emit(RunStarted(RUN, "t", "q", 1, due, 20.0))
    for outcome in ("completed", "completed", "retry"):
        bus.emit(ended(outcome=outcome))
    samples = page(measures.tally)
    pair = {"queue": "q", "task": "t"}
    assert of(samples, "openqueue_runs_started_total", **pair) == 1
    assert of(samples, "openqueue_runs_finished_total", **pair, outcome="completed") == 2
    assert of(samples, "openqueue_runs_finished_total", **pair, outcome="retry") == 1
    assert of(samples, "openqueue_run_seconds_bucket", **pair, le="0.01") == 0
    assert of(samples, "openqueue_run_seconds_bucket", **pair, le="0.025") == 3
    assert of(samples, "openqueue_run_seconds_bucket", **pair, le="+Inf") == 3
    assert of(samples, "openqueue_run_seconds_sum", **pair) == pytest.approx(0.06)
    assert of(samples, "openqueue_run_start_delay_seconds_bucket", **pair, le="10.0") == 0
    assert of(samples, "openqueue_run_start_delay_seconds_count", **pair) == 1


def test_nothing_is_counted_before_and_after_and_nobody_wants_events_then() -> None:
    bus, measures = Events(), Measures()
    assert not bus.wants(RunStarted)
    stop = measures.subscribe(bus)
    assert bus.wants(RunStarted)
    stop()
    bus.emit(ended())
    assert not bus.wants(RunStarted)
    assert measures.tally.counters == {}


def test_a_thousand_tasks_have_no_more_labels_than_the_bound() -> None:
    bus, measures = Events(), Measures()
    measures.subscribe(bus)
    for number in range(1000):
        bus.emit(ended(task=f"t{number}"))
    tasks = {key[1][1] for key in measures.tally.counters}
    assert len(tasks) == MOST + 1
    assert measures.tally.counters["openqueue_runs_finished", (OTHER, OTHER, "completed")] == 1000 - MOST


def test_levels_of_the_process_and_of_the_database_are_those_of_the_moment() -> None:
    rows = [
        {"task": "t", "queue": "q", "jobs": 9, "ready": 4, "blocked": 1, "retrying": 1, "running": 1,
         "oldest": 7.5, "capped": True},
        {"task": "u", "queue": "q", "jobs": 1, "ready": 1, "blocked": 0, "retrying": 0, "running": 0,
         "oldest": 9.5, "capped": True},
    ]  # fmt: skip
    samples = page(Tally(), by_queue(rows))
    assert of(samples, "openqueue_queue_jobs", queue="q", state="ready") == 5
    assert of(samples, "openqueue_queue_jobs", queue="q", state="scheduled") == 2
    assert of(samples, "openqueue_queue_oldest_seconds", queue="q") == 9.5
    assert of(samples, "openqueue_queue_jobs_capped") == 1
    assert of(samples, "openqueue_worker_running") == 3
    assert of(samples, "openqueue_worker_ready") == 1
    away = page(Tally(), Waiting(up=False))
    assert of(away, "openqueue_database_up") == 0
    assert not any(name == "openqueue_queue_jobs" for name, _ in away)


def test_of_many_queues_those_with_most_jobs_have_their_own_figures() -> None:
    row = {
        "task": "t",
        "ready": 0,
        "blocked": 0,
        "retrying": 0,
        "running": 0,
        "oldest": None,
        "capped": False,
    }
    waiting = by_queue(({**row, "queue": f"q{n}", "jobs": n, "ready": n} for n in range(1, 8)), most=3)
    assert {queue for queue, _ in waiting.jobs} == {"q5", "q6", "q7", OTHER}
    assert waiting.jobs[OTHER, "ready"] == 1 + 2 + 3 + 4


def test_a_fleet_adds_up_and_goes_on_where_a_dead_worker_was() -> None:
    def counted(jobs: int, *, leads: bool) -> Tally:
        bus, measures = Events(), Measures()
        measures.subscribe(bus)
        bus.emit(JobsClaimed(jobs, 0.001))
        bus.emit(LeaderElected(RUN, "default") if leads else WorkerStopped(RUN, 0, 0))
        bus.emit(ended())
        return measures.tally

    sums, own = Sums(), Tally()
    sums.hear("w-1", 1, json.loads(json.dumps(counted(10, leads=True).plain())))
    sums.hear("w-1", 1, json.loads(json.dumps(counted(12, leads=True).plain())))  # the same one, later
    sums.hear("w-2", 2, json.loads(json.dumps(counted(5, leads=False).plain())))
    sums.hear("w-1", 3, json.loads(json.dumps(counted(1, leads=False).plain())))  # started again
    own.add("openqueue_worker_processes_ended")
    samples = page(sums.total(own))
    assert of(samples, "openqueue_claim_jobs_sum") == 12 + 5 + 1
    assert of(samples, "openqueue_runs_finished_total", queue="q", task="t", outcome="completed") == 3
    assert of(samples, "openqueue_leader") == 0
    assert of(samples, "openqueue_worker_processes_ended_total") == 1


def test_every_measure_is_shown_with_its_help_from_the_start() -> None:
    facts = Facts("running", database=True)
    text, kind = Exposition(Tally, lambda: facts, lambda: Waiting(up=True), "9.9").page("")
    assert kind.startswith("text/plain")
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text.decode(), re.MULTILINE))
    for one in MEASURES.values():
        shown = f"{one.name}_total" if one.kind == "counter" else one.name
        assert helps[shown] == one.help
    newer, kind = Exposition(Tally, lambda: facts, lambda: Waiting(up=True), "9.9").page(
        "application/openmetrics-text; version=1.0.0"
    )
    assert kind.startswith("application/openmetrics-text")
    assert newer.endswith(b"# EOF\n")


def test_every_metric_of_the_dashboard_is_measured_with_the_labels_it_is_asked_by() -> None:
    text = (files("openqueue.telemetry") / "dashboard.json").read_text()
    board = json.loads(text)
    shown: dict[str, Measure] = {}
    for one in MEASURES.values():
        names = {"counter": [f"{one.name}_total"], "gauge": [one.name]}.get(
            one.kind, [f"{one.name}_{end}" for end in ("bucket", "count", "sum")]
        )
        shown |= dict.fromkeys(names, one)
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    used = set()
    for expression in asked:
        for name, within in re.findall(r"(openqueue_\w+)(?:\{([^}]*)\})?", expression):
            assert name in shown, expression
            labels = set(re.findall(r"(\w+)=", within)) - {"job", "instance"}
            assert labels <= set(shown[name].labels), expression
            used.add(shown[name].name)
    assert used == set(MEASURES)  # nothing is measured that nobody sees
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
