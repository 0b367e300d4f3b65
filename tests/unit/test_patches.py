"""However often an attempt says its progress, what is written is bounded, and comes to the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from openqueue.codec import decode, encode
from openqueue.worker.storing import patches
from openqueue.worker.storing.journal import RunJournal
from openqueue.worker.storing.patches import Patches

VALUES = some.recursive(
    some.none() | some.integers(0, 3),
    lambda inner: some.dictionaries(some.sampled_from("abc"), inner),
    max_leaves=6,
)
PATCHES = some.dictionaries(some.sampled_from("abc"), VALUES, max_size=3)


def laid(target: Any, patch: Any) -> Any:
    """One patch over another, as the database does it (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = laid(merged.get(key), value)
    return merged


@given(before=PATCHES, said=some.lists(PATCHES, max_size=8))
def test_what_is_written_comes_to_what_was_said(before: dict[str, Any], said: list[dict[str, Any]]) -> None:
    one, whole = Patches(), laid({}, before)
    one._count = patches.MOST_PATCHES
    written = [text for patch in said for text in one.add(encode(patch), 0.0)]
    if one.held is not None:
        written.append(one.release())
    folded = whole
    for text in written:
        folded = laid(folded, decode(text))
    for patch in said:
        whole = laid(whole, patch)
    assert folded == whole


class Said:
    """Stands for a job."""

    finished_at = 0.0
    lost = False
    patches: Patches | None = None


def test_a_task_that_says_it_for_each_of_many_rows_writes_a_thousand_patches_and_the_last() -> None:
    journal, job = RunJournal(), Said()
    speaker: Any = job
    for done in range(20_000):
        journal.progress(speaker, {"done": done})
    assert len(journal) == 1_001
    job.finished_at = 1.0
    journal.settle(0.0)
    written = []
    while entries := journal.take():
        written += [decode(entry.data)["done"] for entry in entries]
    assert written == [*range(1_000), 19_999]
    assert len(journal) == 0


def test_while_the_attempt_goes_on_what_is_held_is_written_once_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patches, "MOST_PATCHES", 1)
    journal, speaker = RunJournal(), Said()
    job: Any = speaker
    for done in range(5):
        journal.progress(job, {"done": done})
    held = speaker.patches
    assert held is not None
    journal.settle(held.since + 0.9)
    assert len(journal.take()) == 1
    journal.settle(held.since + 1.0)
    assert [entry.data for entry in journal.take()] == ['{"done":4}']
    assert len(journal) == 0


def test_what_grows_is_written_before_it_is_large() -> None:
    one = Patches()
    one._count = patches.MOST_PATCHES
    written = [text for n in range(1_000) for text in one.add(encode({f"key {n}": "x" * 100}), 0.0)]
    assert max(map(len, written)) < patches.LARGEST + 200
    assert len(written) < 20
    same = [text for n in range(10_000) for text in one.add(encode({"done": n}), 0.0)]
    assert len(same) <= 1
