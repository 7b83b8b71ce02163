"""What a host's operator types: enrol, synchronise, verify, run."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from verifier.command import Command, Output, given
from verifier.commands import execute as exec_cli
from verifier.commands import plugins as plugins_cli
from verifier.commands import prepare as prepare_cli
from verifier.commands import sync as sync_cli
from verifier.deployment.place import DIRECTORY_NAME, ENVIRONMENT, find_deployment
from verifier.errors import FormatError, LoadlockError, PluginFailed, UsageError

if TYPE_CHECKING:
    from verifier.deployment.home import Home
    from verifier.gate import Gate
    from verifier.judging.steps import Outcome
    from verifier.judging.verify import VerifiedPlugin
    from verifier.refreshing.source import Source
    from verifier.runtime import Run

MAX_ARGUMENTS = 1024 * 1024
"""Size cap of ``--args`` in bytes."""


def _configure_enroll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "server", nargs="?", metavar="URL", help="the server's address, or where its public tree is served"
    )
    sync_cli.configure_copy(parser)
    parser.add_argument(
        "--root", metavar="sha256:…", required=True, help="the root's fingerprint, as 'loadlock init' printed it"
    )
    parser.add_argument(
        "--stateless", action="store_true", help="for an image: hosts begin with what is shipped, without any grace"
    )
    parser.add_argument(
        "--development", action="store_true", help="a host for development: that profile's exception may hold here"
    )


def _enroll(args: argparse.Namespace, output: Output) -> None:
    from verifier.refreshing.refresh import enroll

    directory = Path(args.deployment or os.environ.get(ENVIRONMENT) or DIRECTORY_NAME)
    with sync_cli.source_of(args.copy) as source:
        if (asked := source or args.server) is None or (source and args.server):
            raise UsageError("usage.arguments", "where to enrol from", expected="either URL or --from COPY")
        home = enroll(asked, args.root, directory, development=args.development)
        output.say(f"Enrolled in deployment {home.host.deployment!r}; pinned {home.host.root}.")
        if args.stateless:
            _ship(home, source, output)
        sync_cli.sync(directory, output, source=source)


def _ship(home: Home, source: Source | None, output: Output) -> None:
    from verifier.clock import utc_now
    from verifier.deployment.stateless import ship
    from verifier.refreshing.refresh import refresh

    refresh(home, utc_now(), source)
    ship(home)
    output.say("Ship this directory as it is, read-only: its floor is what was seen now.")


def _configure_identify(parser: argparse.ArgumentParser) -> None:
    from verifier.refreshing.api_client import TOKEN

    parser.add_argument("host", metavar="NAME", help="the host's name, for which the token was made")
    parser.add_argument("--token-file", metavar="FILE", help=f"a file with the host's API token (else ${TOKEN})")


def _identify(args: argparse.Namespace, output: Output) -> None:
    from verifier.deployment.home import Home
    from verifier.formats.acknowledgement import HostIdentity
    from verifier.formats.text import Name
    from verifier.refreshing.acknowledging import write_identity
    from verifier.refreshing.api_client import api_token, checked_address

    home, name = Home(find_deployment(args.deployment)), given(Name, args.host, "the host's name")
    checked_address(home.host.server)
    path = write_identity(home, HostIdentity(v=1, host=name, token=api_token(args.token_file)))
    output.say(f"This host acknowledges as {name!r}, as soon as it watches.")
    output.result({"ok": True, "host": name, "identity": str(path)})


def _configure_request(parser: argparse.ArgumentParser) -> None:
    from verifier.formats.manifest import CLASSIFICATIONS
    from verifier.formats.policy import TIERS

    parser.add_argument("--tier", choices=TIERS, default="untrusted", help="the least trusted tier to accept")
    parser.add_argument("--classification", choices=CLASSIFICATIONS, default="public", help="of the run's data")
    parser.add_argument("--hermetic", action="store_true", help="the run has to be hermetic")
    parser.add_argument("--strict", action="store_true", help="refuse whatever there is a warning of")
    parser.add_argument(
        "--adapts",
        action="append",
        default=[],
        metavar="V",
        help="an older API version that the host adapts; may be repeated",
    )
    parser.add_argument(
        "--wheelhouse", metavar="DIR", help="the wheels of locked dependencies (default: wheels/ in the deployment)"
    )


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "wheels", nargs="*", metavar="WHEEL", type=Path, help="a wheel; its attestation set lies beside it"
    )
    parser.add_argument(
        "--installed", action="append", default=[], metavar="NAME", help="a plugin that pip or uv has installed"
    )
    parser.add_argument("--site", metavar="DIR", help="where it is installed (default: where loadlock itself is)")
    _configure_request(parser)


def _verify(args: argparse.Namespace, output: Output) -> int:
    if not args.wheels and not args.installed:
        raise UsageError("usage.arguments", "nothing is named to be verified", expected="WHEEL, or --installed NAME")
    gate = _open_gate(args)
    results = [_verify_one(wheel.name, partial(gate.verify, wheel), output) for wheel in args.wheels]
    look = partial(gate.verify_installed, site=args.site)
    results += [_verify_one(name, partial(look, name), output) for name in args.installed]
    status = max(result.status for result in results)
    output.result({"ok": status == 0, "plugins": [result.document for result in results]})
    return status


class _Result(NamedTuple):
    """What became of one wheel: the exit status it deserves, and the words for it."""

    status: int
    document: dict[str, Any]


def _verify_one(name: str, verify: Callable[..., VerifiedPlugin], output: Output) -> _Result:
    steps: list[Outcome] = []
    document: dict[str, Any] = {"file": name, "ok": False, "steps": []}
    output.say(name)
    try:
        facts = verify(observe=steps.append)
    except LoadlockError as error:  # the other wheels are looked at all the same
        _say_steps(steps, output)
        output.say(str(error))
        return _Result(error.exit_status, document | {"steps": [*map(_step, steps)], "error": error.document()})
    _say_steps(steps, output)
    output.say(f"verified: {facts.plugin_id} {facts.version} at tier {facts.tier}, {_as_of(facts)}")
    for warning in facts.warnings:
        output.say(f"warning: {warning}")
    return _Result(0, document | {"ok": True, "steps": [*map(_step, steps)], "facts": _facts(facts)})


def _say_steps(steps: list[Outcome], output: Output) -> None:
    for step in steps:
        mark = "ok" if step.outcome == "passed" else "NO"
        output.say(f"  {mark}  {step.step:>2} {step.title:<22}{step.detail}")


def _step(step: Outcome) -> dict[str, Any]:
    return {**step._asdict(), "ms": round(step.ms, 3)}


def _as_of(facts: VerifiedPlugin) -> str:
    minutes = int(facts.list_age.total_seconds() // 60)
    return f"not revoked as of list seq {facts.list_seq}, {minutes} min old"


def _facts(facts: VerifiedPlugin) -> dict[str, Any]:
    return {
        "plugin_id": facts.plugin_id,
        "version": facts.version,
        "artifact_digest": facts.artifact_digest,
        "tier": facts.tier,
        "assurance": facts.assurance,
        "dependencies": [{"name": d.name, "version": d.version, "sha256": d.digest} for d in facts.dependencies],
        "signers": dict(facts.signers),
        "statements": dict(facts.statements),
        "list": {
            "epoch": facts.list_epoch,
            "seq": facts.list_seq,
            "age_seconds": int(facts.list_age.total_seconds()),
        },
        "policy_version": facts.policy_version,
        "severity": facts.severity,
        "verified_at": facts.verified_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "warnings": list(facts.warnings),
        "waivers": [waiver.id for waiver in facts.waivers],
    }


def _configure_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheel", metavar="WHEEL", type=Path, help="a wheel; its attestation set lies beside it")
    parser.add_argument("--entry", metavar="GROUP:NAME", required=True, help="an entry point of the signed manifest")
    parser.add_argument("--args", metavar="JSON", default="[]", help="a JSON array of positional arguments")
    _configure_request(parser)


def _run(args: argparse.Namespace, output: Output) -> None:
    group, separator, name = args.entry.partition(":")
    if not separator:
        raise UsageError("usage.arguments", "--entry is not GROUP:NAME", found=repr(args.entry))
    arguments = _arguments(args.args)
    plugin = _open_gate(args, observe=True).load(args.wheel)
    entry = plugin.entry_point(group, name)
    # What a plugin prints must not get between the braces of the one JSON object.
    with contextlib.redirect_stdout(sys.stderr) if output.json else contextlib.nullcontext(), plugin.run() as run:
        target = entry.load()
        text, value = _guarded(lambda: _shown(target(*arguments)))
    output.say(text)
    output.result(
        {
            "ok": True,
            "run_id": run.run_id,
            "facts": _facts(plugin.facts),
            "value": value,
            "observed": _observed(run, plugin.facts, output),
        }
    )


def _observed(run: Run, facts: VerifiedPlugin, output: Output) -> dict[str, Any]:
    """What the plugin reached for; what it had not declared is said aloud, and changes nothing of the outcome."""
    from verifier.runtime.declared import against

    observed = run.observed
    findings = against(observed, facts.manifest)
    for finding in findings:
        if finding.verdict != "declared":
            event = finding.record.event
            place = f"{event.target!a}{'' if event.port is None else f' port {event.port}'}"
            output.say(f"{finding.verdict}: {event.kind} {place}: {finding.why}")
    return observed.document | {"findings": [finding.document for finding in findings]}


def _guarded(action: Callable[[], tuple[str, Any]]) -> tuple[str, Any]:
    """Run what is the plugin's; whatever it raises is its failure, also an exit or an error that looks like ours."""
    try:
        return action()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginFailed("plugin.failed", "the plugin raised an error", found=_described(error)) from error


def _described(error: BaseException) -> str:
    from verifier.formats.strict_json import quoted

    try:
        return quoted(f"{type(error).__name__}: {error}")
    except Exception:  # its words are the plugin's too
        return type(error).__name__


def _shown(value: Any) -> tuple[str, Any]:
    """A value for a person, and for JSON: itself where JSON has such a thing, else in words."""
    text = value if type(value) is str else repr(value)
    plain = value is None or type(value) in {str, int, bool} or (type(value) is float and math.isfinite(value))
    return text, value if plain else text


def _arguments(text: str) -> list[Any]:
    from verifier.formats import strict_json

    try:
        arguments = strict_json.loads(os.fsencode(text), limit=MAX_ARGUMENTS, what="--args")
    except FormatError as error:
        raise UsageError("usage.arguments", error.what, found=error.found, expected="a JSON array") from error
    if not isinstance(arguments, list):
        raise UsageError("usage.arguments", "--args is not a JSON array", found=type(arguments).__name__)
    return arguments


def _open_gate(args: argparse.Namespace, *, observe: bool = False) -> Gate:
    from verifier.gate import Gate
    from verifier.judging.decide import Request

    request = Request(
        tier=args.tier, classification=args.classification, hermetic=args.hermetic, strict=args.strict,
        adapters=dict.fromkeys(args.adapts, lambda group, name, found: found),
    )  # fmt: skip
    return Gate.open(args.deployment, request=request, wheelhouse=args.wheelhouse, observe=observe)


COMMANDS: tuple[Command, ...] = (
    Command("verify", "check wheels, and show each step with its outcome", _configure_verify, _verify),
    Command("run", "verify a plugin, load it from memory and call an entry point", _configure_run, _run),
    Command("host enroll", "pin a deployment's root of trust on this host", _configure_enroll, _enroll),
    Command("host identify", "give this host the name and token it acknowledges with", _configure_identify, _identify),
    *sync_cli.COMMANDS,
    exec_cli.COMMAND,
    prepare_cli.COMMAND,
    *plugins_cli.commands(_configure_request, _open_gate),
)
