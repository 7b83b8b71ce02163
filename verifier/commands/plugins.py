"""``plugins ls``, ``info``, ``plan`` and ``doctor``: what is here or in the registry, what would load, what drifts."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from verifier.command import Command, Output, given
from verifier.errors import Refused, UsageError

if TYPE_CHECKING:
    from verifier.commands.inventory import Entry
    from verifier.formats.manifest import SignedManifest
    from verifier.gate import Gate

MAX_PAGE = 16 * 1024 * 1024
"""Size cap of one page of the registry in bytes."""
MAX_PAGES = 1_000
"""How many pages of the registry are read."""
MAX_DAYS = 3_650

OpenGate = Callable[[argparse.Namespace], "Gate"]
Run = Callable[[argparse.Namespace, Output, OpenGate], "int | None"]
Configure = Callable[[argparse.ArgumentParser], None]


def _configure_registry(parser: argparse.ArgumentParser, what: str = "ask this registry instead") -> None:
    parser.add_argument("--server", metavar="URL", help=what)
    parser.add_argument("--token-file", metavar="FILE", help="a file with an API token (else $LOADLOCK_TOKEN)")


def commands(configure_request: Configure, open_gate: OpenGate) -> tuple[Command, ...]:
    """The commands.

    Args:
        configure_request: declares what a host wants of every plugin.
        open_gate: opens the gate that the arguments name.
    """

    def configure_ls(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "target", nargs="?", metavar="DIR|ID", help="a directory of wheels; of a registry, a plugin"
        )
        parser.add_argument("--search", metavar="WORDS", help="of a registry: what fits all of these words, best first")
        _configure_registry(parser)
        configure_request(parser)

    def configure_info(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("target", metavar="WHEEL|DIGEST", help="a wheel; of a registry, an artifact's digest")
        _configure_registry(parser)
        configure_request(parser)

    def configure_plan(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "directory", metavar="DIR", type=Path, nargs="?", help="the directory that the host loads from"
        )
        parser.add_argument("--installed", action="store_true", help="plan for the plugins that are installed here")
        configure_request(parser)

    def configure_doctor(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("directory", metavar="DIR", type=Path, help="the directory that the host loads from")
        configure_request(parser)
        _configure_registry(parser, "also ask this server which hosts lag behind or are silent")
        parser.add_argument("--within", metavar="DAYS", default="30", help="how near an end has to be (default: 30)")
        parser.add_argument("--host-api", metavar="V", help="the API version that the host will offer next")
        parser.add_argument("--previous", metavar="DIR", type=Path, help="the directory as it was, to compare with")

    def with_gate(run: Run) -> Callable[[argparse.Namespace, Output], int | None]:
        return lambda args, output: run(args, output, open_gate)

    return (
        Command("plugins ls", "list plugins, in a directory or a registry", configure_ls, with_gate(_ls)),
        Command("plugins info", "show what a plugin declares and who signed", configure_info, with_gate(_info)),
        Command("plugins plan", "show what a host would load, why not the rest", configure_plan, with_gate(_plan)),
        Command("plugins doctor", "warn of what drifts or ends soon", configure_doctor, with_gate(_doctor)),
    )


# -- ls ----------------------------------------------------------------------------------------------------------------


def _ls(args: argparse.Namespace, output: Output, open_gate: OpenGate) -> int:
    if args.server:
        _ls_registry(args, output)
        return 0
    from verifier.commands.inventory import take

    entries = take(open_gate(args), Path(args.target or "."))
    for entry in entries:
        output.say(_line(entry))
    refused = any(entry.facts is None for entry in entries)
    output.result({"ok": not refused, "plugins": [_document(entry) for entry in entries]})
    return Refused.exit_status if refused else 0


def _line(entry: Entry) -> str:
    if entry.facts is None:
        code = "" if entry.refusal is None else entry.refusal.code
        return f"{entry.path.name}  refused: {code}"
    return f"{entry.facts.plugin_id}  {entry.facts.version}  {entry.facts.tier}  {entry.path.name}"


def _document(entry: Entry) -> dict[str, Any]:
    if entry.facts is None:
        return {"file": entry.path.name, "ok": False, "error": entry.refusal and entry.refusal.document()}
    facts = entry.facts
    return {
        "file": entry.path.name,
        "ok": True,
        "plugin_id": facts.plugin_id,
        "version": facts.version,
        "tier": facts.tier,
        "digest": facts.artifact_digest,
        "warnings": list(facts.warnings),
    }


def _ls_registry(args: argparse.Namespace, output: Output) -> None:
    rows = list(_artifacts(args) if args.target else _plugins(args))
    shown = ("plugin_id", "version", "tier", "digest", "state", "artifacts")
    for row in rows:
        output.say("  ".join(_plain(row[name]) for name in shown if name in row))
    output.result({"ok": True, "server": args.server, "plugins": rows})


def _plugins(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the registry says there is, page by page."""
    after, words = "", f"q={quote(args.search)}&" if args.search else ""
    for _ in range(MAX_PAGES):
        page = _ask(args, f"/v1/plugins?{words}after={after}")
        for row in _rows(page, "plugins"):
            yield {"plugin_id": row.get("plugin_id"), "artifacts": row.get("artifacts")}
        following = page.get("next")
        if following is None:
            return
        after = quote(str(following)[:80]) if words else _plugin_id(following)
    raise _endless()


def _endless() -> Refused:
    return Refused("server.refused", "the registry's list does not end", found=f"{MAX_PAGES} pages")


def _artifacts(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the registry says there is of one plugin, page by page."""
    from verifier.formats.text import Digest

    path, after = f"/v1/plugins/{_plugin_id(args.target)}", ""
    for _ in range(MAX_PAGES):
        page = _ask(args, path + after)
        for row in _rows(page, "artifacts"):
            kept = {name: row.get(name) for name in ("plugin_id", "version", "tier", "digest", "admitted_at")}
            yield kept | {"state": "revoked" if row.get("revoked") != [] else "admitted"}
        following = page.get("next")
        if following is None:
            return
        after = f"?after={given(Digest, str(following), 'the end of a page')}"
    raise _endless()


def _plugin_id(text: object) -> str:
    from verifier.formats.text import PluginId

    return given(PluginId, str(text), "the plugin's id")


def _ask(args: argparse.Namespace, path: str) -> dict[str, Any]:
    from verifier.refreshing.api_client import api_token, get

    return get(args.server, path, api_token(args.token_file), limit=MAX_PAGE)


def _rows(page: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = page.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused("server.refused", "the registry's answer is not a list", expected=name)
    return rows


def _plain(value: object) -> str:
    """A word of the registry's, which cannot steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value)[:200])


# -- info --------------------------------------------------------------------------------------------------------------


def _info(args: argparse.Namespace, output: Output, open_gate: OpenGate) -> None:
    if args.server:
        _info_registry(args, output)
        return
    from verifier.commands.inventory import certification_of
    from verifier.judging.evidence import TITLES

    gate, wheel = open_gate(args), Path(args.target)
    facts = gate.verify(wheel)
    certification = certification_of(facts, wheel, gate.home)
    _say_manifest(facts.manifest, output)
    for kind, signer in facts.signers.items():
        output.say(f"  {TITLES[kind]} by {signer}, {facts.statements[kind]}")
    if certification is not None:
        output.say(f"  certified for tier {facts.tier} until {certification.terms.expires}")
    for text in (*(certification.terms.conditions if certification else ()), *facts.warnings):
        output.say(f"  note: {text}")
    output.result(
        {
            "ok": True,
            "plugin_id": facts.plugin_id,
            "digest": facts.artifact_digest,
            "tier": facts.tier,
            "manifest": _values(facts.manifest),
            "signers": dict(facts.signers),
            "certified_until": certification and certification.terms.expires,
            "conditions": list(certification.terms.conditions) if certification else [],
            "warnings": list(facts.warnings),
        }
    )


def _info_registry(args: argparse.Namespace, output: Output) -> None:
    from verifier.formats.manifest import SignedManifest
    from verifier.formats.strict_json import convert
    from verifier.formats.text import Digest

    digest = given(Digest, args.target, "the artifact's digest")
    row = _ask(args, f"/v1/artifacts/{digest}")
    manifest = convert(row.get("manifest"), SignedManifest, what="the registry's manifest")
    output.say(f"the registry says, and this host has not verified it ({_plain(row.get('tier'))}):")
    _say_manifest(manifest, output)
    revoked = row.get("revoked") != []
    if revoked:
        output.say("  REVOKED")
    output.result({"ok": True, "server": args.server, "verified": False, "revoked": revoked, "artifact": row})


def _say_manifest(manifest: SignedManifest, output: Output) -> None:
    from verifier.judging.covenant import readable

    for line in readable(manifest):
        output.say(line)


def _values(manifest: SignedManifest) -> Any:
    from verifier.formats.strict_json import plain

    return plain(manifest)


# -- plan and doctor ---------------------------------------------------------------------------------------------------


def _plan(args: argparse.Namespace, output: Output, open_gate: OpenGate) -> int:
    from verifier.commands.inventory import plan, shared_names, take, take_installed

    if args.directory is None and not args.installed:
        raise UsageError("usage.arguments", "nothing is named to plan for", expected="DIR, --installed, or both")
    gate = open_gate(args)
    entries = [] if args.directory is None else take(gate, args.directory)
    planned = plan(entries + (take_installed(gate) if args.installed else []))
    for step in planned:
        output.say(f"{step.outcome:<12}{step.entry.path.name}  {step.reason}")
        if step.refusal is not None and step.refusal.todo:
            output.say(f"{'':<12}next: {step.refusal.todo}")
    loading = [step.entry.facts for step in planned if step.outcome == "loads" and step.entry.facts is not None]
    shared = shared_names(loading)
    for name, plugins in shared.items():
        output.say(f"note: {name} is offered by {', '.join(plugins)}")
    ok = all(step.outcome in ("loads", "superseded") for step in planned)
    rows = [
        _document(step.entry)
        | {"outcome": step.outcome, "reason": step.reason, "error": step.refusal and step.refusal.document()}
        for step in planned
    ]
    output.result({"ok": ok, "plugins": rows, "shared_entry_points": shared})
    return 0 if ok else Refused.exit_status


def _doctor(args: argparse.Namespace, output: Output, open_gate: OpenGate) -> int:
    from verifier.clock import utc_now
    from verifier.commands.doctor import Checkup, examine, of_coverage
    from verifier.commands.inventory import take
    from verifier.formats.text import Version

    if not (args.within.isascii() and args.within.isdigit() and int(args.within[:9]) <= MAX_DAYS):
        raise UsageError("usage.arguments", "--within is not a number of days", found=repr(args.within[:40]))
    next_api = given(Version, args.host_api, "the API version") if args.host_api else None
    gate = open_gate(args)
    entries = take(gate, args.directory)
    before = take(gate, args.previous) if args.previous else []
    checkup = Checkup(utc_now(), timedelta(days=int(args.within)), next_api)
    symptoms = examine(gate.ground, gate.home, entries, before, checkup)
    if args.server:
        symptoms += of_coverage(_ask(args, "/v1/coverage"))
    for symptom in symptoms:
        output.say(str(symptom))
    errors = sum(symptom.level == "error" for symptom in symptoms)
    output.say(f"{len(entries)} wheels, {errors} errors, {len(symptoms) - errors} warnings")
    output.result({"ok": not errors, "symptoms": [symptom.document for symptom in symptoms]})
    return Refused.exit_status if errors else 0
