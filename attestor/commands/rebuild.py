"""The command of whoever rebuilds: a second builder, or an auditor."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attestor.commands.key_options import add_identities, add_key, add_keyless
from attestor.commands.remark_options import add_remarks, telling
from verifier.command import Command, Output
from verifier.errors import UsageError

if TYPE_CHECKING:
    from attestor.building.rebuild import RebuildOptions, Rebuilt
    from attestor.checking.remarks import Remark
    from attestor.commands.places import WheelFiles


def _configure_rebuild(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheel", metavar="WHEEL", help="the wheel; its attestation set lies beside it")
    parser.add_argument("--source", metavar="DIR|FILE", help="a clone that has the commit, or the sdist")
    parser.add_argument("--published", metavar="WHEEL", help="compare with this wheel too")
    parser.add_argument("--wheelhouse", metavar="DIR", help="take the locked wheels from here alone")
    parser.add_argument("--builder-key", metavar="FILE", action="append", help="the public key of a trusted builder")
    signing = parser.add_mutually_exclusive_group()
    add_key(parser, "rebuilder", among=signing)
    add_keyless(parser)
    add_identities(parser, "builder")
    signing.add_argument("--unsigned", action="store_true", help="say the verdict, and sign nothing")
    parser.add_argument("--add", action="store_true", help="put the verdict into the set, when the bytes are the same")
    parser.add_argument("--builder-id", metavar="URI", help="who rebuilds (default: somebody on their own machine)")
    parser.add_argument("--invocation-id", metavar="URI", default="", help="which run of CI this is")
    parser.add_argument("-o", "--output", metavar="DIR", help="keep the rebuilt wheel here")
    add_remarks(parser)


def _rebuild(args: argparse.Namespace, output: Output, remarks: list[Remark]) -> int:
    from attestor.building.rebuild import rebuild
    from attestor.commands.places import WheelFiles, deployment_if_any
    from attestor.signing.signatories import signatories, statement_signer

    if args.add and args.unsigned:
        raise UsageError("usage.arguments", "what is not signed cannot be added to the set", expected="--key FILE")
    deployment = deployment_if_any(args.deployment)
    files = WheelFiles(Path(args.wheel))
    builders = signatories("builder", args, deployment)
    signer = None if args.unsigned else statement_signer("rebuilder", args, None, ", or say --unsigned")
    attestations = files.read_attestations()
    done = rebuild(
        files.read_wheel(), files.wheel.name, attestations, builders, _options(args), signer,
        now=datetime.now(UTC), progress=output.progress,
    )  # fmt: skip
    remarks += _remarks(done)
    kept = _keep(args.output, done)
    written = _write(files, attestations, done, add=args.add)
    return _tell(done, written, kept, output)


def _write(files: WheelFiles, attestations: bytes | None, done: Rebuilt, *, add: bool) -> Path | None:
    """Write the rebuilder's statement, into the set or beside it; gives back where."""
    from attestor.building.rebuild import with_rebuild
    from verifier.files import write_atomic

    if done.attestations is None:
        return None
    if add and attestations is not None and done.refusal() is None:
        files.write_attestations(with_rebuild(attestations, done), attestations)
        return files.attestations
    beside = files.wheel.with_name(f"{files.wheel.name}.rebuild.jsonl")
    write_atomic(beside, done.attestations)
    return beside


def _options(args: argparse.Namespace) -> RebuildOptions:
    from attestor.building.rebuild import REBUILDER, RebuildOptions
    from attestor.building.wheelhouse import Wheelhouse
    from verifier.files import read_capped
    from verifier.wheels.wheel import DEFAULT_LIMITS

    folder, source = (Path(given) if given else None for given in (args.wheelhouse, args.source))
    if folder is not None and not folder.is_dir():
        raise UsageError("usage.arguments", "the wheelhouse is not a directory", found=repr(args.wheelhouse))
    if source is not None and not source.exists():
        raise UsageError("usage.arguments", "there is no such source", found=repr(args.source))
    published = None
    if args.published:
        path = Path(args.published)
        published = (path.name, read_capped(path, DEFAULT_LIMITS.archive, "the published wheel"))
    return RebuildOptions(source, Wheelhouse(folder), published, args.builder_id or REBUILDER, args.invocation_id)


def _remarks(done: Rebuilt) -> list[Remark]:
    """Each difference, told where the file lies in the wheel."""
    from attestor.checking.remarks import PROJECT, Remark, remark_of

    refusal = done.refusal()
    if refusal is None:
        return []
    return [
        Remark(refusal.code, f"{name}: {' '.join(found.lines())}", path=found.entry or PROJECT)
        for name, comparison in done.comparisons.items()
        for found in comparison.differences
    ] or [remark_of(refusal)]


def _keep(directory: str | None, done: Rebuilt) -> Path | None:
    from verifier.files import write_atomic

    if directory is None:
        return None
    kept = Path(directory) / done.build.file_name
    if kept.exists():
        raise UsageError("usage.exists", f"{kept.name!r} lies there already", todo="Name another directory with -o.")
    write_atomic(kept, done.build.wheel)
    return kept


def _tell(done: Rebuilt, written: Path | None, kept: Path | None, output: Output) -> int:
    """Say verdicts, differences and what was written; gives back the exit status."""
    for name, comparison in done.comparisons.items():
        output.say(f"{'verdict' if name == 'wheel' else name:<20}{comparison.verdict}")
        for line in comparison.lines():
            output.say(f"  {line}")
    for title, path in (("rebuilt wheel", kept), ("signed", written)):
        if path is not None:
            output.say(f"{title:<20}{path}")
    if written is not None and written.name.endswith(".rebuild.jsonl"):
        output.say("It lies beside the attestation set, not in it: hosts do not count it there (see --add).")
    document: dict[str, Any] = {
        "ok": True,
        "rebuilt": f"sha256:{done.build.sha256}",
        "comparisons": {name: comparison.document() for name, comparison in done.comparisons.items()},
        "cannot_be_the_same": list(done.differences),
        "statement": str(written) if written else None,
        "kept": str(kept) if kept else None,
    }
    refusal = done.refusal()
    if refusal is None:
        output.result(document)
        return 0
    output.say(str(refusal))
    output.result(document | {"ok": False, "error": refusal.document()})
    return refusal.exit_status


REBUILD_COMMANDS: tuple[Command, ...] = (
    Command("rebuild", "build a wheel again from its provenance; compare", _configure_rebuild, telling(_rebuild)),
)
