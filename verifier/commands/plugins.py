"""``plugins ls`` and ``info``: what is here or in the registry; ``plan`` and ``doctor`` stand in their own module."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from verifier.command import Command, Output, given
from verifier.commands import plan
from verifier.errors import Refused

if TYPE_CHECKING:
    from verifier.commands.inventory import Entry
    from verifier.formats.manifest import SignedManifest
    from verifier.gate import Gate

MAX_PAGE = 16 * 1024 * 1024
"""Size cap of one page of the registry in bytes."""
MAX_PAGES = 1_000
"""How many pages of the registry are read."""

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

    def configure_coverage(parser: argparse.ArgumentParser) -> None:
        _configure_registry(parser, "also ask this server which hosts lag behind or are silent")

    def with_gate(run: Run) -> Callable[[argparse.Namespace, Output], int | None]:
        return lambda args, output: run(args, output, open_gate)

    return (
        Command("plugins ls", "list plugins, in a directory or a registry", configure_ls, with_gate(_ls)),
        Command("plugins info", "show what a plugin declares and who signed", configure_info, with_gate(_info)),
        *plan.commands(configure_request, configure_coverage, open_gate, _ask),
    )


# -- ls ----------------------------------------------------------------------------------------------------------------


def _ls(args: argparse.Namespace, output: Output, open_gate: OpenGate) -> int:
    if args.server:
        _ls_registry(args, output)
        return 0
    from verifier.clock import utc_now
    from verifier.commands.inventory import take
    from verifier.installed.excepted import read_excepted

    gate = open_gate(args)
    entries = take(gate, Path(args.target or "."))
    for entry in entries:
        output.say(_line(entry))
    excepted = read_excepted(gate.home, gate.ground.trust.policy, utc_now())
    for one in excepted:
        output.say(f"{one.last.name}  {one}")
    refused = any(entry.facts is None for entry in entries)
    rows = [entry.document for entry in entries]
    output.result({"ok": not refused, "plugins": rows, "unattested": [one.document for one in excepted]})
    return Refused.exit_status if refused else 0


def _line(entry: Entry) -> str:
    if entry.facts is None:
        code = "" if entry.refusal is None else entry.refusal.code
        return f"{entry.path.name}  refused: {code}"
    return f"{entry.facts.plugin_id}  {entry.facts.version}  {entry.facts.tier}  {entry.path.name}"


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
