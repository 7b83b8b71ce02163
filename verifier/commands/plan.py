"""``plugins plan`` and ``doctor``: what this host would load, why not the rest, and what drifts or ends soon."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from verifier.command import Command, Output, given
from verifier.errors import Refused, UsageError

if TYPE_CHECKING:
    from verifier.commands.inventory import Entry, Planned
    from verifier.gate import Gate

MAX_DAYS = 3_650
_REQUEST = ("tier", "classification", "hermetic", "strict", "wheelhouse")
"""The options that the settings say for themselves."""

OpenGate = Callable[[argparse.Namespace], "Gate"]
Configure = Callable[[argparse.ArgumentParser], None]
Ask = Callable[[argparse.Namespace, str], dict[str, Any]]


class _Host(NamedTuple):
    """A host's gate, what it finds to load, the ids that its settings require, and where they have libraries lie."""

    gate: Gate
    entries: list[Entry]
    required: Sequence[str] = ()
    libraries: Path | None = None


def commands(
    configure_request: Configure, configure_registry: Configure, open_gate: OpenGate, ask: Ask
) -> tuple[Command, ...]:
    """The two commands.

    Args:
        configure_request: declares what a host wants of every plugin.
        configure_registry: declares which server is asked.
        open_gate: opens the gate that the arguments name.
        ask: asks that server.
    """

    def configure_plan(parser: argparse.ArgumentParser) -> None:
        _configure_host(parser)
        parser.add_argument("--installed", action="store_true", help="also the plugins that are installed here")
        configure_request(parser)

    def configure_doctor(parser: argparse.ArgumentParser) -> None:
        _configure_host(parser)
        parser.set_defaults(installed=False)
        configure_request(parser)
        configure_registry(parser)
        parser.add_argument("--within", metavar="DAYS", default="30", help="how near an end has to be (default: 30)")
        parser.add_argument("--host-api", metavar="V", help="the API version that the host will offer next")
        parser.add_argument("--previous", metavar="DIR", type=Path, help="the directory as it was, to compare with")

    return (
        Command(
            "plugins plan", "show what a host would load, why not the rest", configure_plan,
            lambda args, output: _plan(args, output, open_gate),
        ),
        Command(
            "plugins doctor", "warn of what drifts or ends soon", configure_doctor,
            lambda args, output: _doctor(args, output, open_gate, ask),
        ),
    )  # fmt: skip


def _configure_host(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?",
        help="the directory that the host loads from (default: what the host's settings name)",
    )  # fmt: skip
    parser.add_argument(
        "--settings", metavar="FILE", help="the host's settings (default: loadlock.toml in the deployment directory)"
    )


def _host(args: argparse.Namespace, open_gate: OpenGate) -> _Host:
    """The host that the arguments describe; without a directory, the one that its settings do."""
    from verifier.commands.inventory import take, take_installed

    if args.directory is None and not args.installed:
        return _host_by_settings(args)
    if args.settings is not None:
        raise UsageError(
            "usage.arguments", "a directory is named, and settings that name others", found=repr(args.settings),
            expected="DIR or --installed, or --settings FILE",
        )  # fmt: skip
    gate = open_gate(args)
    entries = [] if args.directory is None else take(gate, args.directory)
    return _Host(gate, entries + (take_installed(gate) if args.installed else []))


def _host_by_settings(args: argparse.Namespace) -> _Host:
    from verifier.commands.inventory import take, take_installed
    from verifier.gate import Gate
    from verifier.hosting.settings import Settings

    defaults = {"tier": "untrusted", "classification": "public", "hermetic": False, "strict": False, "wheelhouse": None}
    given_too = [name for name in _REQUEST if getattr(args, name) != defaults[name]]
    if given_too:
        raise UsageError(
            "usage.arguments", "the host's settings say what it wants of plugins", found=f"--{given_too[0]}",
            todo="Leave the option out, or name the directory of plugins.",
        )  # fmt: skip
    settings = Settings.find(args.settings or args.deployment)
    adapters = dict.fromkeys(args.adapts, lambda group, name, found: found)
    gate = Gate.open(
        settings.deployment, request=settings.request(adapters), wheelhouse=settings.wheelhouse, observe=False
    )
    entries = [entry for directory in settings.plugins for entry in take(gate, directory)]
    entries += take_installed(gate, names=settings.installed)
    return _Host(gate, entries, settings.required, settings.libraries)


# -- plan --------------------------------------------------------------------------------------------------------------


def _plan(args: argparse.Namespace, output: Output, open_gate: OpenGate) -> int:
    from verifier.commands.inventory import plan, shared_names

    host = _host(args, open_gate)
    planned = plan(host.entries)
    for step in planned:
        output.say(f"{step.outcome:<12}{step.entry.path.name}  {step.reason}")
        if step.refusal is not None and step.refusal.todo:
            output.say(f"{'':<12}next: {step.refusal.todo}")
    loading = [step.entry.facts for step in planned if step.outcome == "loads" and step.entry.facts is not None]
    shared = shared_names(loading)
    for name, plugins in shared.items():
        output.say(f"note: {name} is offered by {', '.join(plugins)}")
    missing = sorted(set(host.required) - {facts.plugin_id for facts in loading})
    for plugin_id in missing:
        output.say(f"{'missing':<12}{plugin_id}  the settings require it: the host does not start")
    ok = not missing and all(step.outcome in ("loads", "superseded") for step in planned)
    rows = [_row(step) for step in planned]
    output.result({"ok": ok, "plugins": rows, "required_missing": missing, "shared_entry_points": shared})
    return 0 if ok else Refused.exit_status


def _row(step: Planned) -> dict[str, Any]:
    exception = step.entry.exception
    return step.entry.document | {
        "outcome": step.outcome,
        "reason": step.reason,
        "error": step.refusal and step.refusal.document(),
        "exception": exception and {"profile": exception.profile, "until": exception.until},
    }


# -- doctor ------------------------------------------------------------------------------------------------------------


def _doctor(args: argparse.Namespace, output: Output, open_gate: OpenGate, ask: Ask) -> int:
    from verifier.clock import utc_now
    from verifier.commands.doctor import Checkup, examine, of_coverage, of_libraries
    from verifier.commands.inventory import take
    from verifier.formats.text import Version

    if not (args.within.isascii() and args.within.isdigit() and int(args.within[:9]) <= MAX_DAYS):
        raise UsageError("usage.arguments", "--within is not a number of days", found=repr(args.within[:40]))
    next_api = given(Version, args.host_api, "the API version") if args.host_api else None
    gate, entries, _, libraries = _host(args, open_gate)
    before = take(gate, args.previous) if args.previous else []
    checkup = Checkup(utc_now(), timedelta(days=int(args.within)), next_api)
    symptoms = examine(gate.ground, gate.home, entries, before, checkup)
    if libraries is not None:
        symptoms += of_libraries(libraries, entries)
    if args.server:
        symptoms += of_coverage(ask(args, "/v1/coverage"))
    for symptom in symptoms:
        output.say(str(symptom))
    errors = sum(symptom.level == "error" for symptom in symptoms)
    output.say(f"{len(entries)} plugins, {errors} errors, {len(symptoms) - errors} warnings")
    output.result({"ok": not errors, "symptoms": [symptom.document for symptom in symptoms]})
    return Refused.exit_status if errors else 0
