"""What the how-to on deployment shows is accepted by those who must read it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from typer.main import get_command

from openqueue.cli.main import app
from openqueue.settings import Settings
from tests.support.transcript import Block, blocks

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deployment.md"
GRACE = Settings().grace.total_seconds()
COMMANDS = set(get_command(app).commands)  # type: ignore[attr-defined]  # it is a group


def shown(language: str, first: str) -> Block:
    (found,) = (one for one in blocks(PAGE) if one.language == language and one.text.startswith(f"# {first}"))
    return found


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="MISSING: systemd-analyze (apt-get install systemd)"
)
def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = shown("ini", "/etc/systemd").text
    command = Path(sys.executable).parent / "openqueue"
    here = text.replace("/srv/shop/.venv/bin/openqueue", str(command)).replace("User=shop", "User=root")
    (tmp_path / "openqueue@.service").write_text(here)
    (tmp_path / "openqueue@1.service").symlink_to("openqueue@.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "openqueue@1.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if "openqueue@" in line]
    assert said == []
    assert done.returncode == 0, done.stderr


def test_systemd_waits_longer_than_the_worker_needs() -> None:
    lines = dict(line.split("=", 1) for line in shown("ini", "/etc").text.splitlines() if "=" in line)
    assert float(lines["TimeoutStopSec"]) >= GRACE + 10


def test_the_manifests_are_what_kubernetes_expects() -> None:
    deployment, secret = yaml.safe_load_all(shown("yaml", "openqueue.yaml").text)
    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (secret["apiVersion"], secret["kind"]) == ("v1", "Secret")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    pod = template["spec"]
    assert pod["terminationGracePeriodSeconds"] >= GRACE + 10
    variables = {
        f"OPENQUEUE_{(field.alias or name).upper()}" for name, field in Settings.model_fields.items()
    }
    assert set(secret["stringData"]) <= variables
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert {"name", "image", "args", "envFrom"} <= set(container)
        assert container["args"][0] in COMMANDS
        assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
        assert {one["name"] for one in container.get("env", ())} <= variables
    (worker,) = pod["containers"]
    _probes_reach_the_worker(worker)


@pytest.mark.parametrize("version", ["1.28", kubernetes_validate.latest_version()])
def test_the_manifests_keep_the_schemas_of_kubernetes(version: str) -> None:
    """Strictly: a field that is not known is refused, as one with a typing error must be."""
    deployment, secret = yaml.safe_load_all(shown("yaml", "openqueue.yaml").text)
    for manifest in (deployment, secret):
        assert version.startswith(kubernetes_validate.validate(manifest, version, strict=True))
    mistyped, wrong = deepcopy(deployment), deepcopy(deployment)
    pod = mistyped["spec"]["template"]["spec"]
    pod["terminationGracePeriod"] = pod.pop("terminationGracePeriodSeconds")
    wrong["spec"]["replicas"] = "two"
    for manifest in (mistyped, wrong):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, version, strict=True)


def _probes_reach_the_worker(worker: dict[str, Any]) -> None:
    ports = {one["name"]: one["containerPort"] for one in worker["ports"]}
    (address,) = (one["value"] for one in worker["env"] if one["name"] == "OPENQUEUE_HEALTH")
    asked = {
        worker[probe]["httpGet"]["path"]: worker[probe]["httpGet"]["port"]
        for probe in worker
        if "Probe" in probe
    }
    assert asked.keys() == {"/live", "/ready"}
    assert {ports[name] for name in asked.values()} == {int(address.rpartition(":")[2])}


def test_the_file_for_compose_has_services_that_wait_for_the_schema() -> None:
    services = yaml.safe_load(shown("yaml", "compose.yaml").text)["services"]
    assert services["migrate"]["command"] == ["migrate"]
    assert services["worker"]["environment"] == services["migrate"]["environment"]
    assert services["worker"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert float(services["worker"]["stop_grace_period"].rstrip("s")) >= GRACE + 10


def test_the_image_that_is_made_from_ours_ends_as_its_user() -> None:
    ours = (PAGE.parents[1] / "Dockerfile").read_text()
    lines = [line.split() for line in shown("dockerfile", "Dockerfile").text.splitlines() if line[:1] != "#"]
    assert lines[0] == ["FROM", "openqueue"]
    (user,) = (line.split()[1] for line in ours.splitlines() if line.startswith("USER"))
    assert [words[1] for words in lines if words[0] == "USER"][-1] == user
    assert "/opt/openqueue" in ours
