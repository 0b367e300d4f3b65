"""/metrics of a real worker, alone and in a fleet: what it has done, and what waits in the database."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.command import Command
from tests.support.eventually import eventually
from tests.support.ports import free_port

OWN = """
from prometheus_client import Counter

from openqueue import task

sent = Counter("shop_mails_sent", "Mails sent by the program's own count.")


@task(name="own.count")
async def count() -> None:
    sent.inc()
"""


def scraped(port: int) -> dict[str, float]:
    """The samples, each under its name with its labels as they are written, sorted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {
        ",".join(
            [sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@contextmanager
def worker(oq: Command, port: int, *flags: str) -> Iterator[subprocess.Popen[str]]:
    arguments = ("worker", "--metrics", "--health", f"127.0.0.1:{port}", "--grace", "1s", *flags)
    with oq.start(*arguments, OPENQUEUE_LOG_LEVEL="error") as process:
        try:
            yield process
        finally:
            process.terminate()
            process.communicate()


def counted(port: int) -> dict[str, float]:
    """The same; nothing while the worker is not there yet."""
    try:
        return scraped(port)
    except OSError:
        return {}


DONE = "openqueue_runs_finished_total,outcome={},queue={},task={}"
EXPECTED = {
    DONE.format("completed", "mail", "post.send"): 3,
    DONE.format("failed", "default", "post.fail"): 1,
    DONE.format("completed", "default", "own.count"): 1,
    "openqueue_run_seconds_count,queue=mail,task=post.send": 3,
    "openqueue_run_start_delay_seconds_count,queue=mail,task=post.send": 3,
    "openqueue_flush_outcomes_sum": 5,
    "openqueue_claim_jobs_sum": 5,
    "openqueue_leader": 1,
    "openqueue_worker_ready": 1,
    "openqueue_database_up": 1,
    "openqueue_queue_jobs,queue=later,state=scheduled": 1,
}


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["alone", "fleet"])
def test_what_was_done_and_what_waits_is_told(oq: Command, flags: tuple[str, ...]) -> None:
    (oq.project / "tasks" / "own.py").write_text(OWN)
    for line in (
        *[("post.send", '{"to": "a@b.c"}', "--queue", "mail")] * 3,
        ("post.fail", '{"why": "it rains"}'),
        ("own.count", "{}"),
        ("post.send", '{"to": "x"}', "--delay", "1d", "--queue", "later"),
    ):
        assert oq("enqueue", *line, "--allow-unknown").code == 0
    port = free_port()

    def all_told() -> bool:
        samples = counted(port)
        return all(samples.get(name) == value for name, value in EXPECTED.items())

    with worker(oq, port, *flags):
        asyncio.run(eventually(all_told, what="metrics"))
        samples = scraped(port)
        if not flags:
            assert samples["shop_mails_sent_total"] == 1
            assert samples["process_cpu_seconds_total"] > 0


def test_metrics_are_off_unless_they_are_asked_for(oq: Command) -> None:
    port = free_port()
    with oq.start("worker", "--health", f"127.0.0.1:{port}", OPENQUEUE_LOG_LEVEL="error") as process:
        try:
            answer = _not_found(port)
        finally:
            process.terminate()
            process.communicate()
    assert "--metrics" in answer["error"]


def _not_found(port: int) -> dict[str, str]:
    while True:
        try:
            with pytest.raises(urllib.error.HTTPError, match="404") as refused:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60)
        except urllib.error.URLError:
            continue  # it is not there yet
        found: dict[str, str] = json.loads(refused.value.read())
        return found


def test_without_the_library_the_worker_says_which_extra_to_install(oq: Command) -> None:
    (oq.project / "prometheus_client.py").write_text("raise ImportError('not here')\n")
    answer = oq.run("worker", "--metrics", "--once", PYTHONPATH=f"{oq.project}:{Path(__file__).parents[2]}")
    assert answer.code == 3
    assert "pip install 'openqueue[metrics]'" in answer.err


def test_metrics_are_listed_and_the_dashboard_is_printed(bare: Command) -> None:
    listed = bare("metrics", "--json").json
    assert {one["kind"] for one in listed} == {"counter", "gauge", "histogram"}
    assert {"name", "kind", "labels", "help"} == set(listed[0])
    assert "openqueue_runs_finished_total" in bare("metrics").out
    board = json.loads(bare("metrics", "dashboard").out)
    assert (board["title"], board["uid"]) == ("openqueue", "openqueue")


@pytest.mark.parametrize(("said", "on"), [("on", True), ("true", True), ("0", False), ("off", False)])
def test_the_setting_is_a_word_and_nothing_else(
    bare: Command, monkeypatch: pytest.MonkeyPatch, said: str, on: bool
) -> None:
    monkeypatch.setenv("OPENQUEUE_METRICS", said)
    (found,) = [one for one in bare("config", "--json").json if one["key"] == "metrics"]
    assert found["value"] is on
    monkeypatch.setenv("OPENQUEUE_METRICS", "perhaps")
    answer = bare("config")
    assert answer.code == 3
    assert "'perhaps' is neither on nor off" in answer.err
