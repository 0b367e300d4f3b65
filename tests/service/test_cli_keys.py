"""Keys on the command line."""

from __future__ import annotations

from tests.support.command import Command


def test_the_command_line_knows_keys(oq: Command) -> None:
    def enqueue(payload: str, *flags: str) -> tuple[str, str]:
        told = oq("enqueue", "by.name", payload, "--allow-unknown", "--json", *flags).json
        return told["id"], told["outcome"]

    run, outcome = enqueue(
        '{"a": [1]}', "--key", "k", "--key-mode", "merge", "--group", "g", "--concurrency-key", "c"
    )
    assert outcome == "added"
    assert enqueue('{"a": [2]}', "--key", "k", "--key-mode", "keep_time") == (run, "replaced")
    once, outcome = enqueue("{}", "--idempotency", "i")
    assert outcome == "added"
    assert enqueue('{"b": 1}', "--idempotency", "i") == (once, "existing")
    unique, outcome = enqueue('{"b": 1, "c": 2}', "--unique")
    assert outcome == "added"
    assert enqueue('{"c": 2, "b": 1}', "--unique") == (unique, "existing")
    assert enqueue('{"c": 2, "b": 1}', "--unique", "--key-mode", "replace") == (unique, "replaced")
