"""Attacks that need rights on the machine, or else are missing: a full disk, vanished hosts, lost packets."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from random import Random
from urllib.parse import parse_qs, urlsplit

from openqueue.dev.account import server_account
from tests.chaos.attack import Attack
from tests.chaos.load import Load
from tests.chaos.on_workers import occupied, rescued
from tests.chaos.packets import Link, works
from tests.chaos.site import Site
from tests.support.eventually import eventually

__all__ = ["ON_MACHINE"]

SPACE = f"openqueue-{os.getpid()}"
LINK = f"oq{os.getpid()}"
NETWORK = f"10.{200 + os.getpid() // 250 % 50}.{os.getpid() % 250}"


class DiskFull(Attack):
    """The disk of the tables (a small one) is full for a while: whatever needs a new page is refused."""

    name = "PostgreSQL: disk full"

    def missing(self) -> str | None:
        return None if _can_mount() else "the right to mount (root)"

    async def prepare(self, site: Site) -> None:
        self.disk = site.directory.parent / f"{site.directory.name}-disk"
        self.disk.mkdir()
        site.stack.callback(shutil.rmtree, self.disk, ignore_errors=True)
        account = server_account()
        options = f"size=96m,mode=0700,uid={account.uid},gid={account.gid}"
        _run("mount", "-t", "tmpfs", "-o", options, "none", str(self.disk))
        site.stack.callback(_run, "umount", "-l", str(self.disk))
        site.stack.callback(site.server.stop, "immediate")
        await site.execute(f"CREATE TABLESPACE small LOCATION '{self.disk}'")
        await site.execute(f'CREATE DATABASE "{LINK}" TABLESPACE small')
        site.dsn = site.way = site.effects = site.server.dsn(LINK)
        await site.furnish()

    async def run(self, site: Site, load: Load, random: Random) -> None:
        ballast = self.disk / "ballast"
        with site.blow(self.name):
            await asyncio.to_thread(_fill, ballast)
            await asyncio.sleep(6)
            ballast.unlink()
        await site.completes(20)


class HostVanished(Attack):
    """The host of one worker is gone without a word: its network is cut, the server is told nothing."""

    name = "network: a worker's host vanishes"
    workers = 2

    def missing(self) -> str | None:
        return None if _can_have_networks() else "network namespaces (root, iproute2)"

    async def prepare(self, site: Site) -> None:
        here, there = f"{NETWORK}.1", f"{NETWORK}.2"
        _run("ip", "netns", "add", SPACE)
        site.stack.callback(_run, "ip", "netns", "del", SPACE)
        _run("ip", "link", "add", LINK, "type", "veth", "peer", "name", "inside", "netns", SPACE)
        _run("ip", "addr", "add", f"{here}/30", "dev", LINK)
        _run("ip", "link", "set", LINK, "up")
        _run("ip", "-n", SPACE, "addr", "add", f"{there}/30", "dev", "inside")
        _run("ip", "-n", SPACE, "link", "set", "inside", "up")
        dsn = await _listening(site, here)
        within = ("ip", "netns", "exec", SPACE)
        (self.victim,) = await site.start(1, dsn=dsn, effects=dsn, within=within)

    async def run(self, site: Site, load: Load, random: Random) -> None:
        await occupied(site, load, self.victim.pid)
        with site.blow(self.name, self.victim):
            _run("ip", "link", "set", LINK, "down")
            try:
                await rescued(site, self.victim.id)
            finally:
                _run("ip", "link", "set", LINK, "up")
        await occupied(site, load, self.victim.pid)


class PacketsLost(Attack):
    """Of ten packets one is lost, one overtaken, and of twenty one comes twice, in each direction."""

    name = "network: packets lost"
    workers = 0

    def missing(self) -> str | None:
        return None if works() else "the right to make network devices (root, iproute2, /dev/net/tun)"

    async def prepare(self, site: Site) -> None:
        self.link = site.stack.enter_context(Link.up())
        dsn = await _listening(site, self.link.here)
        await site.start(3, dsn=dsn, within=self.link.within)

    async def run(self, site: Site, load: Load, random: Random) -> None:
        link = self.link
        link.random = Random(random.random())
        before = link.dropped
        with site.blow(self.name):
            link.loss, link.twice, link.late = 0.1, 0.05, 0.1
            await site.completes(40)
            await eventually(lambda: link.dropped >= before + 100, every=0.1, what="100 packets are lost")
            link.loss = link.twice = link.late = 0.0
        await site.completes(20)


async def _listening(site: Site, address: str) -> str:
    """Have the server listen there, too; answers how it is reached."""
    (row,) = await site.execute("SHOW hba_file")
    _append(Path(row["hba_file"]), f"host all all {address}/30 trust\n")
    site.server.configure(listen_addresses=address)
    await asyncio.to_thread(site.server.restart)
    parts = urlsplit(site.dsn)
    port = parse_qs(parts.query)["port"][0]
    return f"postgresql://postgres@{address}:{port}{parts.path}?sslmode=disable"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _append(file: Path, line: str) -> None:
    with file.open("a") as rules:
        rules.write(line)


def _works(*command: str) -> bool:
    if os.geteuid() != 0 or shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _can_mount() -> bool:
    """Whether this machine lets us; what is mounted to find out is taken off again."""
    place = Path(f"/tmp/{LINK}")
    with suppress(OSError):
        place.mkdir()
        try:
            return _works("mount", "-t", "tmpfs", "none", str(place)) and _works("umount", str(place))
        finally:
            place.rmdir()
    return False


def _can_have_networks() -> bool:
    if not (_works("ip", "netns", "add", SPACE) and _works("ip", "netns", "del", SPACE)):
        return False
    return _works("ip", "link", "add", LINK, "type", "veth") and _works("ip", "link", "del", LINK)


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"\0" * 65536)


ON_MACHINE: list[type[Attack]] = [DiskFull, HostVanished, PacketsLost]
