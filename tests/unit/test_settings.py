"""Where settings come from, which wins, and what is said of those that cannot be used."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from openqueue.errors import ConfigError
from openqueue.settings import Address, Settings, load_settings, unknown_variables

SECRET = "hunter2-very-secret"
URL = f"postgresql://app:{SECRET}@db.example:5432/app"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project directory and an environment without settings."""
    import os

    for name in [name for name in os.environ if name.startswith("OPENQUEUE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(**flags: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(**flags)
    return str(caught.value)


def test_without_any_settings_every_default_is_that_of_the_table() -> None:
    found = load_settings()
    assert found.database_url is None
    assert (found.schema_name, found.namespace) == ("openqueue", "default")
    assert (found.concurrency, found.threads, found.pool_size) == (100, 16, 4)
    assert (found.grace, found.poll_interval) == (timedelta(seconds=30), timedelta(seconds=2))
    assert (found.max_input, found.max_output) == (1024 * 1024, 1024 * 1024)
    assert (found.dirs, found.modules, found.queues, found.health) == (("tasks",), (), None, None)


def test_each_place_wins_over_the_next(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "secrets").mkdir()
    (project / "pyproject.toml").write_text("[tool.openqueue]\nconcurrency = 1\n")
    assert load_settings().concurrency == 1
    (project / "openqueue.toml").write_text("concurrency = 2\n")
    assert load_settings().concurrency == 2
    monkeypatch.setenv("OPENQUEUE_SECRETS_DIR", "secrets")
    (project / "secrets" / "openqueue_concurrency").write_text("3\n")
    assert load_settings().concurrency == 3
    monkeypatch.setenv("OPENQUEUE_CONCURRENCY", "4")
    assert load_settings().concurrency == 4
    assert load_settings(concurrency=5).concurrency == 5
    assert load_settings(concurrency=None).concurrency == 4


def test_the_first_place_that_gives_a_setting_decides_it_whole(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pyproject.toml").write_text("[tool.openqueue.queues]\nmail = 5\nreports = 1\n")
    assert load_settings().queues == {"mail": 5, "reports": 1}
    monkeypatch.setenv("OPENQUEUE_QUEUES", "mail:2")
    assert load_settings().queues == {"mail": 2}


def test_an_empty_variable_is_as_if_it_were_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", "")
    assert load_settings().database_url is None


@pytest.mark.parametrize(
    "text",
    [
        b'\xef\xbb\xbfconcurrency = 7\r\nschema = "Jobs"\r\n',
        b"schema = 'Jobs'\nconcurrency = 7",
    ],
)
def test_a_file_may_have_a_byte_order_mark_and_windows_line_ends(project: Path, text: bytes) -> None:
    (project / "openqueue.toml").write_bytes(text)
    found = load_settings()
    assert (found.concurrency, found.schema_name) == (7, "Jobs")


def test_a_file_named_by_openqueue_config_is_read_and_its_dirs_are_relative_to_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "conf").mkdir()
    (project / "conf" / "prod.toml").write_text('dirs = ["jobs"]\n')
    monkeypatch.setenv("OPENQUEUE_CONFIG", "conf/prod.toml")
    assert load_settings().dirs == (str(Path("conf/jobs")),)


def test_a_missing_file_named_by_openqueue_config_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENQUEUE_CONFIG", "nowhere.toml")
    assert "OPENQUEUE_CONFIG: there is no file 'nowhere.toml'" in refusal()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_url_is_a_secret_that_no_representation_shows(scheme: str) -> None:
    found = load_settings(database_url=f"{scheme}://app:{SECRET}@db/app")
    assert found.database_url is not None
    assert found.database_url.get_secret_value() == f"{scheme}://app:{SECRET}@db/app"
    assert SECRET not in repr(found) + str(found) + str(found.model_dump()) + found.model_dump_json()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"mysql://app:{SECRET}@db/app", "begins with 'mysql://'"),
        (f"postgresql+asyncpg://app:{SECRET}@db/app", "begins with 'postgresql+asyncpg://'"),
        (f"app:{SECRET}@db/app", "is not a URL"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", url)
    message = refusal()
    assert message.startswith("OPENQUEUE_DATABASE_URL: database_url: ")
    assert said in message
    assert SECRET not in message


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("concurrency", "many", "'many' is not a whole number from 1 to 100000."),
        ("concurrency", "0", "'0' is not a whole number"),
        ("threads", "1.5", "'1.5' is not a whole number"),
        ("processes", "0", "'0' is not a whole number from 1 to 256."),
        ("processes", "-2", "'-2' is not a whole number from 1 to 256."),
        ("processes", "257", "'257' is not a whole number from 1 to 256."),
        ("grace", "soon", "'soon' is not a duration."),
        ("grace", "-5s", "is negative"),
        ("poll_interval", "0", "must be longer than zero"),
        ("health", "here:there", "'here:there' is not an address."),
        ("health", "localhost:99999", "is not an address."),
        ("health", "http://localhost:9464", "is not an address."),
        ("health", "::1", "is not an address."),
        ("health", "fe80::1:9464", "is not an address."),
        ("health", "user@localhost:9464", "is not an address."),
        ("health", "two words:9464", "is not an address."),
        ("health", "-1", "is not an address."),
        ("log_format", "jsno", "'jsno' is not one of auto, console, json. Did you mean 'json'?"),
        ("log_level", "loud", "'loud' is not one of debug, info, warning, error."),
        ("max_input", "12", "'12' is not a size from 1KiB to 64MiB."),
        ("max_input", "1TB", "'1TB' is not a size"),
        ("queues", "mail:none", "'mail:none': 'none' is not a bound"),
        ("queues", ":5", "'' is not the name of a queue"),
        ("queues", " , ", "names no queue"),
        ("queues", "mail,mail:5", "names a queue twice"),
        ("namespace", "   ", "'   ' is not a name"),
    ],
)
def test_a_bad_variable_is_named_with_its_value_and_what_is_allowed(
    key: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"OPENQUEUE_{key.upper()}", value)
    message = refusal()
    assert message.startswith(f"OPENQUEUE_{key.upper()}: {key}: ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("grace = 'x'", "openqueue.toml, line 1: grace: ", "'x' is not a duration"),
        ("# hm\n\nconcurrency = true", "openqueue.toml, line 3: concurrency: ", "True is not a whole number"),
        ("concurrency = [1]", "openqueue.toml, line 1: concurrency: ", "[1] is not a whole number"),
        ("dirs = 5", "openqueue.toml, line 1: dirs: ", "5 is not a list of names"),
        ("dirs = ['a', 5]", "openqueue.toml, line 1: dirs: ", "is not a list of names"),
        ("schema = 5", "openqueue.toml, line 1: schema: ", "5 is not a name"),
        ("[queues]\nmail = 'x'", "openqueue.toml, line 1: queues: ", "'mail': 'x' is not a bound"),
        ("database_url = 5", "openqueue.toml, line 1: database_url: ", "must be text"),
        ("health = 1.5", "openqueue.toml, line 1: health: ", "1.5 is not an address"),
    ],
)
def test_a_bad_value_in_a_file_is_named_with_its_line(
    project: Path, text: str, place: str, said: str
) -> None:
    (project / "openqueue.toml").write_text(text)
    message = refusal()
    assert message.startswith(place)
    assert said in message


def test_a_bad_flag_is_named_without_a_place() -> None:
    assert refusal(grace="x").startswith("grace: 'x' is not a duration.")


def test_several_faults_are_told_together(project: Path) -> None:
    (project / "pyproject.toml").write_text(
        "[tool.other]\ngrace = 1\n\n[tool.openqueue]\ngrace = 'x'\nthreads = 0"
    )
    assert sorted(line.split(" is ")[0] for line in refusal().splitlines()) == [
        "pyproject.toml, line 5 [tool.openqueue]: grace: 'x'",
        "pyproject.toml, line 6 [tool.openqueue]: threads: 0",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "concurency = 5",
            "openqueue.toml, line 1: there is no setting 'concurency'. Did you mean 'concurrency'?",
        ),
        ("\n[worker]\nx = 1", "openqueue.toml, line 2: there is no setting 'worker'."),
        ("[tool.openqueue]\nthreads = 1", "This file has no tables: write the settings at its top."),
        ("xyzzy = 5", "There are: database_url, pooler, listen_dsn, schema, namespace,"),
    ],
)
def test_an_unknown_key_in_a_file_is_refused_with_the_nearest_one(
    project: Path, text: str, said: str
) -> None:
    (project / "openqueue.toml").write_text(text)
    assert said in refusal()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"concurrency = ", "openqueue.toml: is not TOML: "),
        (b"name = '\xff'", "openqueue.toml: is not UTF-8 text (byte 8)."),
    ],
)
def test_a_file_that_cannot_be_read_is_named(project: Path, content: bytes, said: str) -> None:
    (project / "openqueue.toml").write_bytes(content)
    assert said in refusal()


def test_a_pyproject_without_our_table_changes_nothing(project: Path) -> None:
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\n[tool.openqueue-other]\nthreads = 'x'\n")
    assert load_settings() == Settings()


def test_a_pyproject_whose_table_is_not_one_is_refused(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool]\nopenqueue = 5\n")
    assert "pyproject.toml: [tool.openqueue] must be a table." in refusal()


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("on", Address("127.0.0.1", 9464)),
        ("off", None),
        ("8080", Address("127.0.0.1", 8080)),
        (":8080", Address("127.0.0.1", 8080)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),
        ("[::1]:80", Address("::1", 80)),
    ],
)
def test_where_health_is_served_may_be_written_in_several_ways(
    value: str, address: Address | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENQUEUE_HEALTH", value)
    assert load_settings().health == address


@pytest.mark.parametrize(
    ("value", "queues"),
    [
        ("mail", {"mail": None}),
        ("mail:5, reports", {"mail": 5, "reports": None}),
        (["mail:5"], {"mail": 5}),
        ({"mail": 5, "reports": None}, {"mail": 5, "reports": None}),
        ([], None),
    ],
)
def test_queues_may_be_text_a_list_or_a_table(value: object, queues: dict[str, int | None] | None) -> None:
    assert load_settings(queues=value).queues == queues


@pytest.mark.parametrize(
    ("value", "size"),
    [("1MiB", 1 << 20), ("512KiB", 512 << 10), ("2048", 2048), (4096, 4096), ("2 MB", 2_000_000)],
)
def test_sizes_may_have_units(value: object, size: int) -> None:
    assert load_settings(max_input=value).max_input == size


def test_a_missing_secrets_directory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENQUEUE_SECRETS_DIR", "nowhere")
    assert "OPENQUEUE_SECRETS_DIR: there is no directory 'nowhere'" in refusal()


def test_a_bad_secret_is_named_by_its_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "secrets").mkdir()
    (project / "secrets" / "database_url").write_text(f"mysql://{SECRET}")
    monkeypatch.setenv("OPENQUEUE_SECRETS_DIR", "secrets")
    message = refusal()
    assert message.startswith(str(Path("secrets", "database_url")))
    assert SECRET not in message


def test_variables_that_set_nothing_are_told_with_the_nearest_one() -> None:
    names = [
        "OPENQUEUE_DATABASE_ULR",
        "OPENQUEUE_TEST_DATABASE_URL",
        "OPENQUEUE_PG_BIN",
        "OPENQUEUE_SCHEMA",
        "HOME",
    ]
    (found,) = unknown_variables(Settings, names)
    assert found.startswith("OPENQUEUE_DATABASE_ULR is not a setting and is ignored.")
    assert "Did you mean 'OPENQUEUE_DATABASE_URL'" in found


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().concurrency = 5  # type: ignore[misc]


def test_a_queue_flag_that_is_empty_never_comes_to_mean_every_queue(project: Path) -> None:
    with pytest.raises(ConfigError, match="names no queue"):
        load_settings(queues=("",))
    assert load_settings(queues=("mail:5, reports",)).queues == {"mail": 5, "reports": None}


@pytest.mark.parametrize(
    ("heartbeat", "lease", "place"),
    [
        ("5s", "9s", "OPENQUEUE_LEASE: "),
        ("40s", None, "OPENQUEUE_HEARTBEAT: "),
        (None, "3s", "OPENQUEUE_LEASE: "),
        ("1m", "1m", "OPENQUEUE_LEASE: "),
    ],
)
def test_a_lease_that_a_single_missed_beat_would_end_is_refused_naming_both(
    heartbeat: str | None, lease: str | None, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in (("HEARTBEAT", heartbeat), ("LEASE", lease)):
        if value is not None:
            monkeypatch.setenv(f"OPENQUEUE_{key}", value)
    assert refusal() == (
        f"{place}lease: {lease or '1m'} is less than twice the heartbeat ({heartbeat or '5s'}):"
        " one beat that is late would give the jobs of a worker that lives to others."
        " Raise lease, or lower heartbeat."
    )


def test_a_lease_of_two_heartbeats_is_enough() -> None:
    found = load_settings(heartbeat="5s", lease="10s")
    assert (found.heartbeat, found.lease) == (timedelta(seconds=5), timedelta(seconds=10))


def test_a_heartbeat_that_is_wrong_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENQUEUE_HEARTBEAT", "soon")
    assert refusal().startswith("OPENQUEUE_HEARTBEAT: heartbeat: 'soon' is not a duration.")
    assert "lease" not in refusal()


def test_controls_are_tables_of_queues_or_json_in_a_variable(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pyproject.toml").write_text(
        '[tool.openqueue.controls.mail]\nconcurrency = 5\nrate = "100/1m"\nburst = 20\n'
        'fairness = "weighted"\nageing = "300s"\nweights = { gold = 3 }\n'
    )
    mail = {"concurrency": 5, "rate": "100/m", "burst": 20, "fairness": "weighted", "ageing": "5m"}
    assert load_settings().controls == {"mail": {**mail, "weights": {"gold": 3}}}
    monkeypatch.setenv("OPENQUEUE_CONTROLS", '{"reports": {"concurrency": 1}}')
    assert load_settings().controls == {"reports": {"concurrency": 1}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mail:5", "is not JSON such as"),
        ('{"mail": 5}', "mail: 5 is not a table"),
        ('{"mail": {"concurency": 5}}', "mail.concurency: nothing of a queue is called so. Did you mean"),
        ('{"mail": {"concurrency": "x"}}', "mail.concurrency: 'x' is not a whole number"),
        ('{"mail": {"rate": "often"}}', "mail.rate: 'often' is not a rate"),
        ('{"mail": {"burst": 5}}', "mail.burst: belongs to a rate"),
        ('{"mail": {"fairness": "fair"}}', "mail.fairness: 'fair' is not one of"),
        ('{"mail": {"ageing": "0s"}}', "mail.ageing: '0s' must be longer than zero"),
        ('{"mail": {"weights": {"gold": 0}}}', "mail.weights: gold = 0: give a weight"),
        ('{"mail": {"weights": {"a\\u0000": 1}}}', "mail.weights: 'a\\x00' is not the name of a group"),
        ('{"*": {"concurrency": 1}}', "'*' is not the name of a queue"),
    ],
)
def test_controls_that_cannot_be_are_refused_with_their_place(
    monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.setenv("OPENQUEUE_CONTROLS", given)
    assert refusal().startswith("OPENQUEUE_CONTROLS: controls: ")
    assert said in refusal()


def test_retention_is_a_table_or_json_in_a_variable(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "openqueue.toml").write_text(
        '[retention]\nall = "2160h"\nfailed = "forever"\n[retention.tasks]\n"mail.send" = "60m"\n'
    )
    assert load_settings().retention == {"all": "90d", "failed": "forever", "tasks": {"mail.send": "1h"}}
    monkeypatch.setenv("OPENQUEUE_RETENTION", '{"ticks": "1d", "whole_months": true}')
    assert load_settings().retention == {"ticks": "1d", "whole_months": True}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("90d", "is not JSON such as"),
        ('{"al": "90d"}', "al: nothing is kept by that name. Did you mean"),
        ('{"all": "long"}', "all: 'long' is not a duration"),
        ('{"all": "0s"}', "all: '0s' must be longer than zero"),
        ('{"tasks": "90d"}', "tasks: '90d' is not a table of names"),
        ('{"queues": {"mail": "-1d"}}', "queues.mail: '-1d' is negative"),
        ('{"tasks": {"mail.send": 90}}', "tasks.mail.send: 90 has no unit: write '90d' for ninety days"),
        ('{"all": "90"}', "all: '90' has no unit"),
        ('{"whole_months": "yes"}', "whole_months: 'yes' is neither true nor false"),
    ],
)
def test_retention_that_cannot_be_is_refused_with_its_place(
    monkeypatch: pytest.MonkeyPatch, given: str, said: str
) -> None:
    monkeypatch.setenv("OPENQUEUE_RETENTION", given)
    assert refusal().startswith("OPENQUEUE_RETENTION: retention: ")
    assert said in refusal()
