"""The archive as Parquet: it has what the runs had, and nothing is lost if it cannot be written."""

import gzip
import json
import tracemalloc
from pathlib import Path

import asyncpg
import pytest
from pyarrow import parquet

from openqueue.cluster import parquet as ours
from openqueue.cluster.archive import Archive
from openqueue.errors import InvalidOption

_NOTHING = dict.fromkeys((*ours.TEXTS, *ours.NUMBERS, *ours.TIMES, *ours.JSONS))
_RUN = json.dumps(_NOTHING | {"id": "0" * 32, "tags": ["a,b", '"}]', "ü"], "error": '["{'})

INPUTS = [
    '{"price": 1.23456789012345678901234567890}',
    "[100000000000000000000.5, 1.10, -0.0]",
    '{"x": 1' + "0" * 400 + ".5}",
    '{"x": 1' + "0" * 5_000 + "}",
    "[" * 3_000 + "]" * 3_000,
    '{"": {"}": "\\\\", "a\\"": "\\u0001 \u2028,:"}}',
    "{}",
    '""',
    "false",
]


def run_with(text: str) -> str:
    return _RUN.replace('"input": null', f'"input": {text}')


@pytest.mark.parametrize("text", INPUTS, ids=range(len(INPUTS)))
def test_what_is_json_in_a_run_is_kept_character_by_character(tmp_path: Path, text: str) -> None:
    file = Archive(tmp_path / "a.parquet")
    file.add([run_with(text)])
    file.finish()
    (found,) = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert found["input"] == text
    assert (found["id"], found["tags"]) == ("0" * 32, ["a,b", '"}]', "ü"])
    assert (json.loads(found["error"]), found["output"], found["key"]) == ('["{', None, None)


async def test_what_postgresql_writes_is_what_parquet_has(tmp_path: Path, db: asyncpg.Connection) -> None:
    """Numbers as long as PostgreSQL has them, deeper than Python reads."""
    told = await db.fetchval(
        """SELECT jsonb_build_object('a', 1e400 + 0.5, 'b', 10 ^ 4999::numeric, 'c', 0.10,
            'd', E'\\r\\n\\\\"',
            'e', (repeat('[', 3000) || repeat(']', 3000))::jsonb)::text"""
    )
    file = Archive(tmp_path / "a.parquet")
    file.add([run_with(told)])
    file.finish()
    (found,) = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert found["input"] == told


def test_memory_does_not_grow_with_what_the_runs_weigh(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl.gz"
    with gzip.open(lines, "wt", compresslevel=1) as file:
        for _ in range(240):
            file.write(run_with(f'"{"y" * 250_000}"') + "\n")
    tracemalloc.start()
    try:
        ours.write_parquet(lines, tmp_path / "a.parquet")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30_000_000  # of 60 MB
    assert parquet.read_metadata(tmp_path / "a.parquet").num_rows == 240


def test_light_runs_share_a_row_group(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl.gz"
    with gzip.open(lines, "wt", compresslevel=1) as file:
        file.write((_RUN + "\n") * (ours.ROWS + 1))
    ours.write_parquet(lines, tmp_path / "a.parquet")
    written = parquet.read_metadata(tmp_path / "a.parquet")
    groups = [written.row_group(one).num_rows for one in range(written.num_row_groups)]
    assert groups == [ours.ROWS, 1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (_RUN.replace('"created_at": null', '"created_at": "infinity"'), "infinity"),
        (_RUN.replace('"priority": null', '"priority": 99999999999'), "99999999999"),
    ],
    ids=["Python", "pyarrow"],
)
def test_what_parquet_cannot_hold_is_told_with_the_name_of_what_there_is(
    tmp_path: Path, line: str, said: str
) -> None:
    file = Archive(tmp_path / "a.parquet")
    file.add([_RUN, line])
    with pytest.raises(InvalidOption, match=r"^archive: .*a\.parquet' cannot be written: .*") as raised:
        file.finish()
    assert said in str(raised.value)
    (left,) = tmp_path.iterdir()
    assert str(left) in str(raised.value)
    assert gzip.decompress(left.read_bytes()).decode().splitlines() == [_RUN, line]


def test_an_unfinished_file_that_is_there_is_somebody_elses(tmp_path: Path) -> None:
    file, theirs = Archive(tmp_path / "a.parquet"), tmp_path / "a.parquet.unfinished"
    file.add([_RUN])
    theirs.write_text("theirs")
    with pytest.raises(InvalidOption, match=r"File exists.*a\.parquet\.jsonl\.gz\.partial"):
        file.finish()
    with pytest.raises(InvalidOption, match=r"b\.parquet\.unfinished' is there already"):
        Archive(theirs.rename(tmp_path / "b.parquet.unfinished").with_suffix(""))
    assert (tmp_path / "b.parquet.unfinished").read_text() == "theirs"
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl.gz"])
def test_a_file_that_came_meanwhile_stays_and_the_lines_do_too(tmp_path: Path, name: str) -> None:
    file, theirs = Archive(tmp_path / name), tmp_path / name
    file.add([_RUN])
    theirs.write_text("theirs")
    with pytest.raises(InvalidOption, match=r"it is there now\..*\.partial', as JSON lines"):
        file.finish()
    assert theirs.read_text() == "theirs"
    assert gzip.decompress(file.partial.read_bytes()).decode() == _RUN + "\n"
    assert len(list(tmp_path.iterdir())) == 2
