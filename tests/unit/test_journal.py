"""What attempts say is kept until it can be written, in bounded memory, and what is dropped is counted."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from openqueue.worker.storing import journal as journals
from openqueue.worker.storing.journal import RunJournal


class Said:
    """Stands for a job."""

    finished_at = 0.0
    lost = False


def said(journal: RunJournal) -> list[str]:
    taken = []
    while entries := journal.take():
        taken += [entry.data for entry in entries]
    return taken


def line(journal: RunJournal, text: str, job: Any = None) -> None:
    speaker: Any = job or Said()
    journal.log(speaker, "info", text, {})


def test_entries_are_taken_in_order_and_come_first_when_they_are_given_back() -> None:
    journal = RunJournal()
    for text in "abc":
        line(journal, text)
    taken = journal.take()
    line(journal, "d")
    journal.give_back(taken)
    assert [text[-3] for text in said(journal)] == ["a", "b", "c", "d"]
    assert (len(journal), journal.dropped()) == (0, 0)


def test_beyond_so_many_or_so_many_bytes_the_oldest_go_and_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal = RunJournal()
    monkeypatch.setattr(journals, "MOST_ENTRIES", 3)
    for text in "abcde":
        line(journal, text)
    assert (journal.dropped(), journal.dropped()) == (2, 0)
    assert [text[-3] for text in said(journal)] == ["c", "d", "e"]
    monkeypatch.setattr(journals, "MOST_BYTES", 1000)
    line(journal, "x" * 600)
    line(journal, "y" * 600)
    assert journal.dropped() == 1
    line(journal, "z" * 5000)
    (left,) = said(journal)
    assert "zzz" in left


def test_what_was_taken_no_longer_counts_and_what_is_given_back_does(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = RunJournal()
    monkeypatch.setattr(journals, "MOST_BYTES", 1000)
    for _ in range(5):
        line(journal, "x" * 600)
        assert len(said(journal)) == 1
    assert journal.dropped() == 0
    line(journal, "x" * 600)
    journal.give_back(journal.take())
    line(journal, "y" * 600)
    assert journal.dropped() == 1


def test_many_threads_may_speak_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    journal = RunJournal()
    monkeypatch.setattr(journals, "MOST_ENTRIES", 1000)

    def speak() -> None:
        for _ in range(2000):
            line(journal, "x")

    speakers = [threading.Thread(target=speak) for _ in range(8)]
    for speaker in speakers:
        speaker.start()
    taken = 0
    while any(speaker.is_alive() for speaker in speakers):
        taken += len(journal.take())
    taken += len(said(journal))
    assert taken + journal.dropped() == 8 * 2000
    assert journal._bytes == 0


def test_what_is_refused_is_found_by_ones_and_then_many_are_taken_again() -> None:
    journal = RunJournal()
    for text in "abcd":
        line(journal, text)
    journal.divide(journal.take())
    sizes = []
    for refused in (False, True, False):
        taken = journal.take()
        sizes.append(len(taken))
        if refused:
            journal.divide(taken)
    assert sizes == [1, 1, 2]
    assert len(journal) == 0


def test_lost_and_ended_attempts_are_left_out() -> None:
    journal = RunJournal()
    ended, lost = Said(), Said()
    ended.finished_at = 1.0
    line(journal, "late", ended)
    line(journal, "lost", lost)
    lost.lost = True
    assert said(journal) == []
