"""A host's revocation list: opened by a new process, asked, kept current; beside what else one would take.

    .venv/bin/python -m benchmarks.lists [--rounds N] [--write]

open: a new process, its modules loaded, opens a list of so many entries: trust verified from the pinned root, head and
base. Beside it the floor: sha256 of that base and one Ed25519 signature. Memory is what the process holds more than
before, once 200 plugins were asked for: its own, and pages of mapped files, which the system shares and takes back as
it likes; beside it a frozenset of the same entries.
wire: what a host downloads that has the list already, when 100 entries are added: the head and the new segment.
refresh: an unchanged list, asked of a server on loopback by one kept connection; beside it python-tuf's client, which
asks the same server for unchanged metadata. The server is ``loadlock serve``.
``--write`` replaces ``benchmarks/results/lists.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.pages import options, show
from benchmarks.serving import serving
from tests.crl_server.deployments import made, revoke
from tests.live_deployment import LiveDeployment, digest
from verifier.deployment.home import Home
from verifier.deployment.tuf_client import Fetcher, fetch_repository
from verifier.formats.revocations import PREFIX
from verifier.formats.text import Hex
from verifier.refreshing.refresh import Refresher, enroll
from verifier.refreshing.transport import Transport

SIZES: Final = {"1M": 1_000_000, "10M": 10_000_000}
ADDED: Final = 100
ASKED: Final = 20_000
PLUGINS: Final = 200
REFRESHES: Final = 200


def main(words: Sequence[str]) -> None:
    """Measure, print, and write the page if asked to."""
    if words[:1] == ["--child"]:
        sys.stdout.write(json.dumps(_child(words[1], Path(words[2]), Path(words[3]))))
        return
    parser = options("lists", "a host's revocation list")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(words)
    with TemporaryDirectory(dir=Path.cwd()) as folder:
        sizes = {name: opened(Path(folder) / name, count, args.rounds) for name, count in SIZES.items()}
        page = report(args.rounds, sizes, wire(), refreshed(Path(folder) / "refresh"))
    show("lists", page, keep=args.write)


# -- opening and asking ------------------------------------------------------------------------------------------------


def opened(folder: Path, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """For each side the medians over the rounds, each in a process of its own, in turn."""
    with LiveDeployment() as live:
        entries = sorted({os.urandom(PREFIX) for _ in range(count)})
        base = b"".join(entries)
        live.documents.keep("bases", base)
        live.publish_epoch(2, 0, [], root=hashlib.sha256(base).hexdigest(), count=count)
        live.host(folder)
    asked = folder / "asked"
    present = b"".join(entries[at] for at in range(0, count, 2 * count // ASKED))
    asked.write_bytes(present + os.urandom(len(present)))
    del entries, base
    sides: dict[str, list[dict[str, float]]] = {"floor": [], "host": [], "frozenset": []}
    for _ in range(rounds):
        for side, found in sides.items():
            command = [sys.executable, "-m", "benchmarks.lists", "--child", side, str(folder), str(asked)]
            done = subprocess.run(command, capture_output=True, check=True)
            found.append(json.loads(done.stdout))
    return {
        side: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for side, found in sides.items()
    }


def _child(side: str, folder: Path, asked: Path) -> dict[str, float]:
    (base,) = (path for path in (folder / "lists" / "bases").iterdir() if path.stat().st_size)
    key = Ed25519PrivateKey.generate()
    signature, public = key.sign(b"head"), key.public_key()
    data = asked.read_bytes()
    prefixes = [data[at : at + PREFIX] for at in range(0, len(data), PREFIX)]
    now = datetime.now(UTC) + timedelta(minutes=1)
    with base.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before, began = _resident(), perf_counter()
    held: Any = None
    if side == "floor":
        hashlib.sha256(base.read_bytes())
        public.verify(signature, b"head")
    elif side == "host":
        held = Home(folder).in_force(now).revocations.holds
    else:
        content = base.read_bytes()
        held = frozenset(content[at : at + PREFIX] for at in range(0, len(content), PREFIX)).__contains__
        del content
    seconds = perf_counter() - began
    for prefix in prefixes[:: len(prefixes) // PLUGINS] if held else ():
        held(prefix)
    grown = {kind: after - before[kind] for kind, after in _resident().items()}
    return {"ms": seconds * 1e3, "us": _asked(held, prefixes) if held else 0.0, **grown}


def _asked(held: Callable[[bytes], bool], prefixes: list[bytes]) -> float:
    """Microseconds of a look-up; each prefix is asked for once, as a host does."""
    began = perf_counter()
    found = sum(map(held, prefixes))
    seconds = perf_counter() - began
    if found != len(prefixes) // 2:
        raise RuntimeError("what is asked for is answered wrongly")
    return seconds / len(prefixes) * 1e6


def _resident() -> dict[str, float]:
    """MiB of this process's own memory, and of files that it has mapped."""
    with open("/proc/self/status") as stream:
        found = dict(line.split(":", 1) for line in stream)
    return {"own": int(found["RssAnon"].split()[0]) / 1024, "mapped": int(found["RssFile"].split()[0]) / 1024}


# -- the wire ----------------------------------------------------------------------------------------------------------


def wire() -> tuple[int, int]:
    """Bytes of the head and of the segment that adds entries to a large base; and of each segment more in the head."""
    with LiveDeployment() as live:
        live.revoke(*(digest(number) for number in range(ADDED)))
        (segment,) = (data for (kind, _), data in live.documents.files.items() if kind == "segments")
        refs = [{"from": 100 + at, "to": 100 + at, "count": ADDED, "sha256": "0" * 64} for at in range(11)]
        longer, shorter = (live.documents.head(live.now, segments=refs[:count]) for count in (11, 1))
        return len(live.head) + len(segment), (len(longer) - len(shorter)) // 10


def refreshed(folder: Path) -> dict[str, float]:
    """The median of an unchanged refresh, in milliseconds: of ours, and of python-tuf's client."""
    times: dict[str, list[float]] = {"list": [], "tuf": []}
    now = datetime.now(UTC).replace(microsecond=0)
    with closing(made(folder / "acme", now=now)) as authority:
        revoke(authority, "one", now=now)
        root = authority.first_root()
    with serving(folder / "acme", workers=1) as url:
        home = enroll(url, root, folder / "host")
        host = Refresher(home, Transport(url))
        host.refresh(now)
        fetcher, pinned = Fetcher(host.transport), home.pinned_root
        stored = home.stored_trust(home.state().trust or Hex("0" * 64))

        def tuf() -> None:
            with TemporaryDirectory() as staging:
                fetch_repository(fetcher, url, pinned, stored, Path(staging))

        sides: dict[str, Callable[[], object]] = {"list": lambda: host.refresh(now, trust=False), "tuf": tuf}
        for _ in range(REFRESHES):
            for name, act in sides.items():
                began = perf_counter()
                act()
                times[name].append((perf_counter() - began) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


# -- the page ----------------------------------------------------------------------------------------------------------


def report(
    rounds: int, sizes: dict[str, dict[str, dict[str, float]]], wired: tuple[int, int], refreshes: dict[str, float]
) -> str:
    """The page."""
    load = os.getloadavg()[0]
    lines = [
        "# A host's revocation list", "", "    .venv/bin/python -m benchmarks.lists --write", "",
        f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores, load"
        f" average {load:.1f} at the end; medians of {rounds} rounds, in turn, each in a new process.", "",
        "| entries | side | open, ms | of floor | look-up, µs | of a set's | own MiB | of a set's | mapped MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, sides in sizes.items():
        floor, beside = sides["floor"], sides["frozenset"]
        for side, found in sides.items():
            asked = ["-"] * 5
            if side != "floor":
                asked = [f"{found['us']:.2f}", f"{found['us'] / beside['us']:.1f}"]
                asked += [f"{found['own']:.1f}", f"{found['own'] / beside['own']:.4f}", f"{found['mapped']:.0f}"]
            lines.append(
                f"| {name} | {side} | {found['ms']:.0f} | {found['ms'] / floor['ms']:.2f} | {' | '.join(asked)} |"
            )
    ratio = refreshes["tuf"] / refreshes["list"]
    raw = ADDED * PREFIX
    added, further = wired
    lines += [
        "", f"- {ADDED} entries more: {added:,} bytes to download, {added / raw:.2f} times the {raw:,} of the entries",
        f"- each segment that the tail has already adds {further} bytes to the head; their number grows with the"
        " logarithm of the tail, and a checkpoint makes it none",
        f"- an unchanged refresh: {refreshes['list']:.2f} ms; python-tuf's: {refreshes['tuf']:.2f} ms",
        "", _verdicts(sizes, added / raw, ratio), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _verdicts(sizes: dict[str, dict[str, dict[str, float]]], grown: float, ratio: float) -> str:
    def of(name: str, side: str, unit: str) -> float:
        return sizes[name]["host"][unit] / sizes[name][side][unit]

    aims = [(f"opening {name} at most 2 times the floor", of(name, "floor", "ms"), 2.0) for name in SIZES]
    aims += [
        ("a look-up in 1M at most 10 times a frozenset's", of("1M", "frozenset", "us"), 10.0),
        ("own memory of 10M at most 0.01 times a frozenset's", of("10M", "frozenset", "own"), 0.01),
        (f"{ADDED} more at most 1.5 times their bytes", grown, 1.5),
        ("an unchanged refresh at most an eighth of TUF's", 1 / ratio, 1 / 8),
    ]
    told = [f"{aim} ({found:.3g}: {'met' if found <= limit else 'missed'})" for aim, found, limit in aims]
    return f"Aims: {'; '.join(told)}."


if __name__ == "__main__":
    main(sys.argv[1:])
