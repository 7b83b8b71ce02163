"""What verifying costs a host: its import, the work itself, and the whole command.

    .venv/bin/python -m benchmarks.verify [--rounds N] [--write]

Each part measures its sides in turn, round after round, and gives ratios of medians within this one run. Where other
work wants the cores, a side that takes longer than the scheduler's slice waits in nearly every round, and one that
takes less in nearly none: the ratio by the clock then says more of the machine than of either; processor time counts.

    import    ``import verifier``, with the gate that a host uses, and with what that imports besides when it meets a
              plugin or a list for the first time, against the parts of cryptography that it then needs; each in a
              process of its own
    work      a set of six statements in key mode, the wheel in memory, against what nobody can do without: sha256 of
              the wheel, the six bare signature checks, and unpacking it; also with a cache of verdicts and wheels. What
              a process keeps of texts that it met before (requirements, file names) is forgotten before each round.
              The wheels are made of the files of ten packages, as ``benchmarks.imports`` imports them, and of source
              that we make up
    command   ``loadlock verify`` (key mode, six statements) against ``sigstore verify identity --offline`` (one bundle
              of a private Sigstore), whole processes over the same wheel

``--write`` replaces ``benchmarks/results/verify.md``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from time import perf_counter, process_time
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from benchmarks.imports import PACKAGES
from benchmarks.pages import options, show, write_bytecode
from benchmarks.tables import about, row
from tests.hosts import HostedDeployment
from tests.sigstore import KeylessPerson, PrivateSigstore, workflow_claims
from tests.simulator import EVERYTHING, NOW, PluginWheel, Simulator
from tests.verifier.importing.real_wheels import fetch
from verifier.formats import manifest, packages, strict_json
from verifier.formats.bundle import dump_bundle, parse_set
from verifier.formats.statement import parse_certification
from verifier.judging.verdicts import Verdicts
from verifier.judging.verify import verify
from verifier.private_cache import PrivateCache
from verifier.wheels.wheel import parse_file_name, read_wheel

BIN: Final = Path(sys.executable).parent
IMPORTS: Final = {
    "cryptography": "from cryptography.hazmat.primitives import hashes, serialization\n"
    "from cryptography.hazmat.primitives.asymmetric import ec, ed25519\n"
    "from cryptography.exceptions import InvalidSignature",
    "import verifier": "import verifier",
    "from verifier import Gate": "from verifier import Gate",
    "... and for what is new": "from verifier import Gate\nimport verifier.signatures.keys\n"
    "from packaging import requirements",
}
SIZES: Final = {"60 kB": 4, "1 MB": 60, "10 MB": 600}
"""How many modules of 40 kB of source each wheel has; compressed to about this size."""
Samples = Mapping[str, list[float]]


def forget() -> None:
    """Take from the process what it remembers of documents that it met before."""
    of_texts = strict_json._text, manifest._bounds, packages.versions, packages._specifiers
    for kept in (parse_certification, parse_file_name, *of_texts):
        kept.cache_clear()


def in_turn(sides: Mapping[str, Callable[[], object]], rounds: int) -> tuple[Samples, Samples]:
    """Seconds of each side by the clock, and of processor time; one round before the first is not counted."""
    clock: dict[str, list[float]] = {side: [] for side in sides}
    processor: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, act in sides.items():
            forget()
            began, used = perf_counter(), process_time()
            act()
            ended, spent = perf_counter(), process_time()
            if number:
                clock[side].append(ended - began)
                processor[side].append(spent - used)
    return clock, processor


# -- import ------------------------------------------------------------------------------------------------------------


def measure_imports(rounds: int) -> Samples:
    """Seconds that each import takes inside a new interpreter."""
    samples: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds + 1):
        for name, code in IMPORTS.items():
            script = f"import time; began = time.perf_counter()\n{code}\nprint(time.perf_counter() - began)"
            done = subprocess.run([sys.executable, "-I", "-c", script], check=True, capture_output=True, text=True)
            if number:
                samples[name].append(float(done.stdout))
    return samples


# -- work --------------------------------------------------------------------------------------------------------------


def wheel_of(sim: Simulator, modules: int) -> PluginWheel:
    """A wheel with that many modules, of text that compresses about as code does."""
    words = random.Random(1)  # noqa: S311 - filling

    def function() -> str:
        return f"def f{words.randrange(10**9)}(a, b=None):\n    return a + {words.randrange(10**6)}\n\n"

    files = {
        f"sample_plugin/part_{number}.py": "".join(function() for _ in range(700)).encode() for number in range(modules)
    }
    return sim.wheel(files=files)


def wheel_like(sim: Simulator, package: str) -> PluginWheel:
    """A wheel with the files of a package."""
    [path] = fetch([PACKAGES[package].wheels[0]])
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")]
        return sim.wheel(files={name: archive.read(name) for name in names})


def six_statements(sim: Simulator, wheel: PluginWheel) -> bytes:
    """Manifest, SBOM, provenance, certification, audit and release checklist."""
    claims = sim.claims(wheel)
    sim.add_findings(claims, wheel)
    return claims.sign()


def floor_of(sim: Simulator, wheel: PluginWheel, attestations: bytes) -> Callable[[], None]:
    """What nobody can do without: the digest, the bare signature checks, unpacking."""
    keys = {person.public.hint: person.public for person in sim.people.values()}
    checks: list[Callable[[], None]] = []
    for bundle in parse_set(attestations):
        key, envelope = load_der_public_key(keys[bundle.hint or ""].spki), bundle.envelope
        signature, message = envelope.signatures[0].sig, envelope.signed_bytes
        if isinstance(key, ed25519.Ed25519PublicKey):
            checks.append(lambda key=key, s=signature, m=message: key.verify(s, m))  # type: ignore[misc]
        else:
            algorithm = ec.ECDSA(hashes.SHA256())
            checks.append(lambda key=key, s=signature, m=message, a=algorithm: key.verify(s, m, a))  # type: ignore[misc]

    def floor() -> None:
        hashlib.sha256(wheel.data).digest()
        for check in checks:
            check()
        with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
            for name in archive.namelist():
                archive.read(name)

    return floor


class Work(NamedTuple):
    """What was verified, in words, and samples of: floor, verify, verify with a cache."""

    about: str
    clock: Samples
    processor: Samples


def measure_work(make: Callable[[Simulator], PluginWheel], rounds: int, scratch: Path) -> Work:
    """Verify one wheel and its set, beside the floor."""
    sim = Simulator()
    wheel = make(sim)
    attestations = six_statements(sim, wheel)
    ground = sim.ground()
    kept = PrivateCache(mkdtemp(dir=scratch))
    known = Verdicts(kept)
    sides = {
        "floor": floor_of(sim, wheel, attestations),
        "verify": lambda: verify(wheel.data, wheel.file_name, attestations, ground, NOW, EVERYTHING),
        "verify, known": lambda: verify(
            wheel.data, wheel.file_name, attestations, ground, NOW, EVERYTHING, None,
            partial(read_wheel, cache=kept), known,
        ),
    }  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(wheel.data)) as archive:
        about = f"{len(archive.namelist())} files, {len(wheel.data) / 1e6:.2f} MB"
    return Work(f"{about}, {len(parse_set(attestations))} statements", *in_turn(sides, rounds))


def lines_of_work(rounds: int, scratch: Path) -> Iterator[str]:
    """The table of all wheels."""
    wheels = {package: partial(wheel_like, package=package) for package in PACKAGES}
    wheels |= {f"made up, {size}": partial(wheel_of, modules=modules) for size, modules in SIZES.items()}
    yield from row.head("of the floor", "processor time, of the floor's")
    for name, make in wheels.items():
        about, clock, processor = measure_work(make, rounds, scratch)
        for side in clock:
            what = f"{side}, {name}" if side != "floor" else f"floor, {name} ({about})"
            yield row(what, clock[side], clock["floor"], processor[side], processor["floor"])


# -- command -----------------------------------------------------------------------------------------------------------


def measure_commands(rounds: int, scratch: Path) -> tuple[Samples, Samples]:
    """Whole processes over the same wheel."""
    with HostedDeployment(scratch) as hosted, PrivateSigstore() as sigstore:
        wheel = wheel_of(hosted.sim, SIZES["60 kB"])
        claims = hosted.claims(wheel)
        hosted.sim.add_findings(claims, wheel)
        path = hosted.put(wheel, claims.sign())
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": path.name, "digest": {"sha256": wheel.digest.removeprefix("sha256:")}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {},
        }
        config, told = sigstore.trust_config(2, timestamps=True), workflow_claims()
        person = KeylessPerson("ci", config, sigstore.issuer.token(told))
        (scratch / "bundle.json").write_bytes(dump_bundle(person.attest(json.dumps(statement).encode())))
        (scratch / "config.json").write_text(json.dumps(config))
        identity = f"https://github.com/{told['job_workflow_ref']}"
        ours: list[object] = [BIN / "loadlock", "verify", path, "--deployment", hosted.directory]
        theirs: list[object] = [
            BIN / "sigstore", "--trust-config", scratch / "config.json", "verify", "identity", "--offline", "--bundle",
            scratch / "bundle.json", "--cert-identity", identity, "--cert-oidc-issuer", sigstore.issuer.url, path,
        ]  # fmt: skip
        nothing: list[object] = [sys.executable, "-c", "pass"]
        sides = {"sigstore verify": theirs, "loadlock verify": ours, "python -c pass": nothing}
        clock: dict[str, list[float]] = {side: [] for side in sides}
        processor: dict[str, list[float]] = {side: [] for side in sides}
        hidden = scratch / "hidden"  # the cloud's SDK of the development environment, from both sides: see many.py
        hidden.mkdir()
        (hidden / "boto3.py").write_text("raise ImportError\n")
        environ = {**os.environ, "PYTHONPATH": str(hidden)}
        for number in range(rounds + 1):
            for side, command in sides.items():
                before, began = os.times(), perf_counter()
                done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, env=environ)
                after, ended = os.times(), perf_counter()
                if done.returncode:
                    raise SystemExit(f"{side} failed:\n{done.stdout}{done.stderr}")
                if number:
                    clock[side].append(ended - began)
                    spent = after.children_user + after.children_system
                    processor[side].append(spent - before.children_user - before.children_system)
    return clock, processor


# -- the page ----------------------------------------------------------------------------------------------------------


def page(rounds: int) -> str:
    """The whole result page."""
    lines = ["# What verifying costs", "", *about("verify", rounds), ""]
    with TemporaryDirectory(prefix="loadlock-benchmark-") as place:
        scratch = Path(place)
        imports = measure_imports(rounds)
        lines += ["## Import", "", *row.head("of cryptography's")]
        lines += [row(name, imports[name], imports["cryptography"]) for name in IMPORTS]
        lines += ["", "Aim: at most 4 times.", "", "## Six statements in key mode, the wheel in memory", ""]
        lines += lines_of_work(rounds, scratch)
        lines += ["", "Aim: at most 1.5 times the floor, without a cache.", "", "## The whole command", ""]
        lines += row.head("of sigstore's", "processor time, of sigstore's")
        (scratch / "commands").mkdir()
        clock, processor = measure_commands(max(rounds // 3, 5), scratch / "commands")
        theirs = "sigstore verify"
        lines += [row(side, clock[side], clock[theirs], processor[side], processor[theirs]) for side in clock]
    lines += ["", "Aim: at most 0.4 times.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure, show, and with ``--write`` keep the page."""
    parser = options("verify", "What verifying costs a host.")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    write_bytecode()
    text = page(arguments.rounds)
    show("verify", text, keep=arguments.write)


if __name__ == "__main__":
    main()
