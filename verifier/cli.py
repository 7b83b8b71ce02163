"""What a host's operator types: enrol, synchronise, verify, run."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifier.command import DIRECTORY_NAME, Command, Output, find_deployment
from verifier.errors import LoadlockError, PluginFailed, Refused, UsageError

if TYPE_CHECKING:
    from verifier.gate import Gate
    from verifier.verify import Outcome, VerifiedPlugin


def _configure_enroll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", metavar="URL", help="the server's address, or where its public tree is served")
    parser.add_argument(
        "--root", metavar="sha256:…", required=True, help="the root's fingerprint, as 'loadlock init' printed it"
    )


def _enroll(args: argparse.Namespace, output: Output) -> None:
    from verifier.refresh import enroll

    directory = Path(args.deployment or DIRECTORY_NAME)
    home = enroll(args.server, args.root, directory)
    output.say(f"Enrolled in deployment {home.host.deployment!r}; pinned {home.host.root}.")
    _refresh(directory, output)


def _configure_sync(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheels", nargs="*", metavar="WHEEL", type=Path, help="wheels whose attestation sets to fetch")


def _sync(args: argparse.Namespace, output: Output) -> None:
    directory = find_deployment(args.deployment)
    _refresh(directory, output, wheels=args.wheels)


def _refresh(directory: Path, output: Output, wheels: list[Path] | None = None) -> None:
    from verifier.gate import open_ground, utc_now
    from verifier.home import Home
    from verifier.refresh import fetch_set, refresh

    home = Home(directory)
    refresh(home, utc_now())
    ground = open_ground(home, utc_now())
    head, policy = ground.revocations.head, ground.trust.policy
    fetched = [str(fetch_set(home, _digest_of(wheel))) for wheel in wheels or ()]
    output.say(f"Policy {policy.version}, valid until {policy.valid_until}.")
    output.say(f"Revocation list seq {head.seq}, {ground.revocations.count} entries, fresh until {head.expires}.")
    if fetched:
        output.say(f"Attestation sets fetched: {len(fetched)}.")
    output.result(
        {
            "ok": True,
            "deployment": home.host.deployment,
            "root": home.host.root,
            "policy": policy.version,
            "epoch": head.epoch,
            "seq": head.seq,
            "entries": ground.revocations.count,
            "sets": len(fetched),
        }
    )


def _digest_of(wheel: Path) -> str:
    import hashlib

    from verifier.files import read_capped
    from verifier.wheel import DEFAULT_LIMITS

    return hashlib.sha256(read_capped(wheel, DEFAULT_LIMITS.archive, "wheel")).hexdigest()


def _configure_request(parser: argparse.ArgumentParser) -> None:
    from verifier.formats.manifest import CLASSIFICATIONS
    from verifier.formats.policy import TIERS

    parser.add_argument("--tier", choices=TIERS, default="untrusted", help="the least trusted tier to accept")
    parser.add_argument("--classification", choices=CLASSIFICATIONS, default="public", help="of the run's data")
    parser.add_argument("--hermetic", action="store_true", help="the run has to be hermetic")


def _configure_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "wheels", nargs="+", metavar="WHEEL", type=Path, help="a wheel; its attestation set lies beside it"
    )
    _configure_request(parser)


def _verify(args: argparse.Namespace, output: Output) -> int:
    gate = _open_gate(args)
    results = [_verify_one(gate, wheel, output) for wheel in args.wheels]
    ok = all(result["ok"] for result in results)
    output.result({"ok": ok, "plugins": results})
    return 0 if ok else 1


def _verify_one(gate: Gate, wheel: Path, output: Output) -> dict[str, Any]:
    steps: list[Outcome] = []
    output.say(f"{wheel.name}")
    try:
        facts = gate.verify(wheel, observe=steps.append)
    except Refused as error:
        _say_steps(steps, output)
        output.say(str(error))
        return {"file": wheel.name, "ok": False, "steps": [_step(s) for s in steps], "error": error.document()}
    _say_steps(steps, output)
    output.say(f"verified: {facts.plugin_id} {facts.version} at tier {facts.tier}, {_as_of(facts)}")
    for warning in facts.warnings:
        output.say(f"warning: {warning}")
    return {"file": wheel.name, "ok": True, "steps": [_step(s) for s in steps], "facts": _facts(facts)}


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
        "signers": facts.signers,
        "statements": facts.statements,
        "list": {
            "epoch": facts.list_epoch,
            "seq": facts.list_seq,
            "age_seconds": int(facts.list_age.total_seconds()),
        },
        "policy_version": facts.policy_version,
        "verified_at": facts.verified_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "warnings": list(facts.warnings),
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
    plugin = _open_gate(args).load(args.wheel)
    entry = plugin.entry_point(group, name)
    with plugin.run() as run:
        try:
            value = entry(*arguments)
        except LoadlockError:
            raise
        except Exception as error:
            raise PluginFailed(
                "plugin.failed", "the plugin raised an error", found=f"{type(error).__name__}: {error}"
            ) from error
    output.say(value if isinstance(value, str) else repr(value))
    shown = value if isinstance(value, str | int | float | bool | None) else repr(value)
    output.result({"ok": True, "run_id": run.run_id, "facts": _facts(plugin.facts), "value": shown})


def _arguments(text: str) -> list[Any]:
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise UsageError("usage.arguments", "--args is not JSON", found=str(error)) from None
    if not isinstance(arguments, list):
        raise UsageError("usage.arguments", "--args is not a JSON array", found=type(arguments).__name__)
    return arguments


def _open_gate(args: argparse.Namespace) -> Gate:
    from verifier.decide import Request
    from verifier.gate import Gate

    request = replace(Request(), tier=args.tier, classification=args.classification, hermetic=args.hermetic)
    return Gate.open(args.deployment, request=request)


COMMANDS: tuple[Command, ...] = (
    Command("verify", "check wheels, and show each step with its outcome", _configure_verify, _verify),
    Command("run", "verify a plugin, load it from memory and call an entry point", _configure_run, _run),
    Command("host enroll", "pin a deployment's root of trust on this host", _configure_enroll, _enroll),
    Command("host sync", "fetch current trust, revocation list and attestation sets", _configure_sync, _sync),
)
