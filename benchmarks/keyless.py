"""Verify keyless bundles, side by side with sigstore-python by itself.

    .venv/bin/python -m benchmarks.keyless [--rounds N] [--write]

Both sides start from a bundle's bytes and a trusted root that was read before, and end with the verified payload: ours
is strict parsing, choosing the signer, pruning the trusted root, the library, and comparing; theirs is parsing, the
library, and its policy. Both demand the same of the certificate: address and issuer, the repository's number, ref,
trigger and runner. Beside them *by name* is theirs with address and issuer alone, as its documentation has it: it would
take a signature of another repository that was given the name, and of a run that somebody else triggered.

One process, two sides in turn, round after round, each first in every other round; both have verified once before the
clock runs, and what we keep of a certificate and of texts is forgotten before each. *By name* has rounds of its own:
after another verification by the library, the library finds its code and data at hand, and we do not. Each bundle is
the line that it would be in an attestation set, but for one that is as its author published it: indented, fields in
another order, which our reader takes longer for.

Where other work wants the cores, the side that takes longer waits more often, and a median by the clock doubles or
triples what it shows: then the ratio of processor time is the one to go by.

    public       a bundle of the public Sigstore, log of the first generation, by somebody else
    as published the same, byte for byte as it was published
    private v1   of a private Sigstore on loopback, log of the first generation with a timestamp
    private v2   the same, log of the second generation with a timestamp
    six of v1    six statements that one run of a pipeline signs, with one certificate; likewise of v2

``--write`` replaces ``benchmarks/results/keyless.md``.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter, process_time
from typing import Any, NamedTuple

from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy

from benchmarks.pages import options, show
from tests.sigstore import KeylessPerson, PrivateSigstore, workflow_claims
from tests.verifier.test_keyless_library import STATEMENT
from tests.verifier.test_keyless_public import FOLDER, MODELS, TRUSTED_ROOT
from verifier.formats import strict_json
from verifier.formats.bundle import dump_bundle, parse_bundle
from verifier.formats.identity import WorkflowIdentity
from verifier.signatures.identities import KeylessSignatory, differences, load_certificate, read_claims


class Case(NamedTuple):
    """Bundles, verified by each side: what is signed in them."""

    name: str
    ours: Callable[[], list[bytes]]
    theirs: Callable[[], list[bytes]]
    by_name: Callable[[], list[bytes]]


def case(name: str, bundles: list[bytes], root: bytes, identity: Mapping[str, Any], subject: str) -> Case:
    """All sides over bundles of one signer, signed at the ref that its subject ends in."""
    signatory = KeylessSignatory(strict_json.convert(identity, WorkflowIdentity, what="identity"), root)
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(root)
        file.flush()
        verifier = Verifier(trusted_root=TrustedRoot.from_file(file.name))
    by_name = policy.Identity(identity=subject, issuer=identity["issuer"])
    demanded = policy.AllOf(
        [
            by_name,
            policy.OIDCSourceRepositoryIdentifier(identity["repository_id"]),
            policy.OIDCSourceRepositoryRef(subject.partition("@")[2]),
            policy.OIDCBuildTrigger(identity["triggers"][0]),
            policy.OIDCRunnerEnvironment(identity["runner"]),
        ]
    )

    def opened(data: bytes) -> bytes:
        bundle = parse_bundle(data)
        if not signatory.selected_by(bundle):
            raise SystemExit("the bundle is somebody else's")
        return signatory.open(bundle).payload

    def ours() -> list[bytes]:
        return [opened(data) for data in bundles]

    def theirs(wanted: policy.VerificationPolicy) -> list[bytes]:
        return [verifier.verify_dsse(Bundle.from_json(data), wanted)[1] for data in bundles]

    return Case(name, ours, partial(theirs, demanded), partial(theirs, by_name))


def cases(sigstore: PrivateSigstore) -> list[Case]:
    """The bundles."""
    published = (FOLDER / "pypi_attestation_models-0.0.4a2.tar.gz.sigstore").read_bytes()
    found = [
        case(name, [data], TRUSTED_ROOT, MODELS, f"{MODELS['workflow']}@refs/tags/v0.0.4a2")
        for name, data in (("public", dump_bundle(parse_bundle(published))), ("as published", published))
    ]
    subject = f"https://github.com/{workflow_claims()['job_workflow_ref']}"
    identity: dict[str, Any] = {
        "issuer": sigstore.issuer.url,
        "repository_id": "4711",
        "workflow": subject.partition("@")[0],
        "refs": ["refs/tags/v*"],
        "triggers": ["push"],
        "runner": "github-hosted",
    }
    root = json.dumps(sigstore.trusted_root()).encode()
    for log in (1, 2):
        config = sigstore.trust_config(log, timestamps=True)
        person = KeylessPerson("ci", config, sigstore.issuer.token(workflow_claims()))
        lines = [dump_bundle(person.attest(STATEMENT)) for _ in range(6)]
        found.append(case(f"private v{log}", lines[:1], root, identity, subject))
        found.append(case(f"six of v{log}", lines, root, identity, subject))
    return found


def measure(ours: Callable[[], list[bytes]], theirs: Callable[[], list[bytes]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each of two sides: by the wall's clock, and of processor time."""
    if ours() != theirs():
        raise SystemExit("both sides verify different payloads")
    times: dict[str, list[float]] = {"ours": [], "theirs": [], "ours cpu": [], "theirs cpu": []}
    sides = (("ours", ours), ("theirs", theirs))
    for number in range(rounds):
        for side, act in sides if number % 2 else sides[::-1]:
            for kept in (differences, read_claims, load_certificate, strict_json._text):
                kept.cache_clear()
            wall, cpu = perf_counter(), process_time()
            act()
            times[f"{side} cpu"].append((process_time() - cpu) * 1000)
            times[side].append((perf_counter() - wall) * 1000)
    return times


def row(which: Case, rounds: int) -> str:
    """A line of the table."""
    times, by_name = measure(which.ours, which.theirs, rounds), measure(which.ours, which.by_name, rounds)
    p99 = {side: statistics.quantiles(times[side], n=100)[98] for side in ("ours", "theirs")}
    return (
        f"| {which.name} | {statistics.median(times['ours']):.2f} | {statistics.median(times['theirs']):.2f} | "
        f"{_ratios(times)} | {p99['ours']:.2f} | {p99['theirs']:.2f} | {_ratios(by_name)} |"
    )


def _ratios(times: dict[str, list[float]]) -> str:
    middle = {side: statistics.median(values) for side, values in times.items()}
    return f"{middle['ours'] / middle['theirs']:.2f} | {middle['ours cpu'] / middle['theirs cpu']:.2f}"


def main() -> None:
    """Measure, show, and with ``--write`` keep the page."""
    parser = options("keyless", "Keyless verification, against sigstore-python by itself.")
    parser.add_argument("--rounds", type=int, default=300)
    args = parser.parse_args()
    with PrivateSigstore() as sigstore:
        rows = [row(which, args.rounds) for which in cases(sigstore)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("sigstore", "cryptography"))
    page = "\n".join(
        [
            "# Keyless verification against sigstore-python by itself",
            "",
            f"Milliseconds, {args.rounds} rounds in turn; Python {platform.python_version()}, {versions}; load average "
            f"{os.getloadavg()[0]:.1f} at the start.",
            "Repeat: `.venv/bin/python -m benchmarks.keyless --write`.",
            "",
            "| bundle | ours, median | theirs, median | ratio | ratio of processor time | ours, p99 | theirs, p99 "
            "| by name: ratio | ratio of processor time |",
            f"|{'---|' * 9}",
            *rows,
            "",
        ]
    )
    show("keyless", page, keep=args.write)


if __name__ == "__main__":
    main()
