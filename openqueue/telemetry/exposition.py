"""/metrics: what was counted, in the words of Prometheus, as prometheus-client writes them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from openqueue.errors import ConfigError
from openqueue.telemetry.depth import Waiting
from openqueue.telemetry.health import Told
from openqueue.telemetry.measures import MEASURES
from openqueue.telemetry.tally import Key, Tally

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["Exposition", "families", "require_prometheus"]


def require_prometheus() -> None:
    """Raise ConfigError where prometheus-client is not installed."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError:
        raise ConfigError(
            "metrics: prometheus-client is not installed. Install it (pip install 'openqueue[metrics]'), or"
            " leave"
            " metrics off."
        ) from None


@dataclass(frozen=True, slots=True)
class Exposition:
    """Writes a page. All are asked anew for each: what was counted, how the process is, what waits.

    `others` is a registry of prometheus-client's whose metrics are added: those of the program.
    """

    tally: Callable[[], Tally]
    facts: Callable[[], Told]
    depth: Callable[[], Waiting]
    version: str
    others: Any = None

    def page(self, accept: str) -> tuple[bytes, str]:
        """The page, and its type: the newest format that `accept` asks for."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.exposition import choose_encoder

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        write, kind = choose_encoder(accept)
        page: bytes = write(registry)
        if self.others is not None:
            page = page.removesuffix(b"# EOF\n") + write(self.others)
        return page, kind

    def collect(self) -> Iterable[Metric]:
        """As prometheus-client asks."""
        tally = self.tally()
        for name, labels, value in self._now():
            tally.set(name, value, labels)
        return families(tally)

    def _now(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """The levels that are there when they are looked at."""
        facts, waiting = self.facts(), self.depth()
        live, ready = facts.judged()
        told = facts.told()
        yield "openqueue_worker_ready", (), ready.ok
        yield "openqueue_worker_live", (), live.ok
        yield "openqueue_worker_running", (), told["running"]
        yield "openqueue_worker_loop_idle_seconds", (), told["loop_idle"]
        yield "openqueue_build_info", (self.version, platform.python_version()), 1
        yield "openqueue_database_up", (), waiting.up
        if waiting.up:
            yield "openqueue_queue_jobs_capped", (), waiting.capped
            for (queue, state), jobs in waiting.jobs.items():
                yield "openqueue_queue_jobs", (queue, state), jobs
            for queue, age in waiting.oldest.items():
                yield "openqueue_queue_oldest_seconds", (queue,), age


def families(tally: Tally) -> Iterator[Metric]:
    """Every measure of the catalogue, with what the tally has of it."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    plain = {**tally.counters, **tally.levels}
    for one in MEASURES.values():
        if one.kind == "histogram":
            histogram = HistogramMetricFamily(one.name, one.help, labels=one.labels)
            for labels, buckets in _of(one.name, tally.histograms, one.labels, [0.0] * (len(one.bounds) + 2)):
                counts = accumulate(buckets[:-1])
                bounds = [*map(_bound, one.bounds), "+Inf"]
                histogram.add_metric(labels, [*zip(bounds, counts, strict=True)], buckets[-1])
            yield histogram
            continue
        family: Any = CounterMetricFamily if one.kind == "counter" else GaugeMetricFamily
        metric = family(one.name, one.help, labels=one.labels)
        for labels, value in _of(one.name, plain, one.labels, 0.0):
            metric.add_metric(labels, float(value))
        yield metric


def _of(name: str, values: dict[Key, Any], labels: tuple[str, ...], nothing: Any) -> list[tuple[Any, Any]]:
    """What there is of a measure; of one without labels there is always something."""
    found = [(key[1], value) for key, value in values.items() if key[0] == name]
    return found or ([] if labels else [((), nothing)])


def _bound(value: float) -> str:
    return repr(value)
