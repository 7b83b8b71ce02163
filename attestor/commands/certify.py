"""The certifier's command: shows what is declared and how it differs from before, asks, and signs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attestor.commands.key_options import add_identities, add_key, add_keyless
from attestor.commands.layout import chain_of, configure_chain
from attestor.commands.rehearsal_options import add_rehearsal, finish, rehearse
from verifier.command import Command, Output
from verifier.errors import Refused, UsageError

if TYPE_CHECKING:
    from attestor.checking.review import Keys, Review
    from attestor.describing.precedent import Precedent
    from attestor.signing.certify import Terms
    from verifier.formats.manifest import SignedManifest
    from verifier.judging.growth import Change


def _configure(parser: argparse.ArgumentParser) -> None:
    from verifier.formats.policy import TIERS

    parser.add_argument("wheel", metavar="WHEEL", help="the wheel; its endorsed set lies beside it")
    parser.add_argument("--tier", choices=TIERS, required=True, help="the tier it is certified for")
    parser.add_argument("--expires", metavar="DATE", required=True, help="YYYY-MM-DD, or a moment in UTC")
    parser.add_argument("--condition", metavar="TEXT", action="append", default=[], help="under which condition")
    add_key(parser, "certifier")
    add_keyless(parser)
    add_identities(parser, "builder", "rebuilder", "owner", "certifier")
    for role, whose in (("builder", "an accepted builder"), ("rebuilder", "a rebuilder"), ("owner", "the owner")):
        parser.add_argument(f"--{role}-key", metavar="FILE", action="append", help=f"the public key of {whose}")
    parser.add_argument("--certifier-id", metavar="URI", help="who certifies")
    parser.add_argument(
        "--policy",
        metavar="DIR|FILE",
        help="an enrolled host's directory: be held against its policy, and name it; or the policy's JSON: name it",
    )
    add_rehearsal(parser, policy=False)
    parser.add_argument("--yes", action="store_true", help="do not ask: what is shown is agreed to")
    parser.add_argument("--refuse-growth", action="store_true", help="refuse whatever may do more than before")
    configure_chain(parser)
    before = parser.add_argument_group("what it is compared with")
    one = before.add_mutually_exclusive_group()
    one.add_argument("--previous", metavar="FILE", help="an earlier release: a wheel with its set beside it, or a set")
    one.add_argument("--server", metavar="URL", help="the registry: the release that it admitted last")
    before.add_argument("--token-file", metavar="FILE", help="a file with an API token (else $LOADLOCK_TOKEN)")
    before.add_argument(
        "--certifier-key",
        metavar="FILE",
        action="append",
        help="the public key of whoever certified that release",
    )


def _certify(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import WheelFiles, deployment_if_any
    from attestor.signing.certify import certify, changes_since, check_no_growth, manifest_of, review_for_certification
    from attestor.signing.rehearsal import rehearse_certification
    from attestor.signing.signatories import statement_signer
    from verifier.formats.bundle import dump_set
    from verifier.formats.statement import CERTIFICATION
    from verifier.judging.covenant import found_out, readable
    from verifier.judging.findings import findings_in
    from verifier.signatures.keys import PublicKey

    now = datetime.now(UTC)
    terms = _terms(args)
    files = WheelFiles(Path(args.wheel))
    deployment = deployment_if_any(args.deployment)
    certifier = statement_signer("certifier", args, deployment)
    keys = _keys(args)
    wheel, attestations = files.read_wheel(), files.read_attestations()
    found = review_for_certification(wheel, files.wheel.name, attestations, certifier, keys)
    with_keys = [owner for owner in keys["owner"] if isinstance(owner, PublicKey)]  # layouts are signed with keys alone
    _, fulfilled = chain_of(args, files, wheel, with_keys, now)
    terms = replace(terms, layout=None if fulfilled is None else fulfilled.payload)
    precedent = _precedent(args, {**keys, "certifier": [certifier.signatory, *_certifiers(args)]}, found)
    changes = None if precedent is None else changes_since(precedent, found, terms)
    shown = (*readable(manifest_of(found)), *found_out(findings_in(found.statements)))
    for line in (*shown, "", *_compared(precedent, changes), "", *_granted(found, terms)):
        output.say(line)
    if args.refuse_growth:
        check_no_growth(changes)
    policy = rehearse(
        args, deployment, (files.wheel.name, wheel), output, now,
        lambda case: rehearse_certification(
            case, dump_set(found.kept(CERTIFICATION)), certifier.signatory, keys, terms
        ),
    )  # fmt: skip
    if args.dry_run:
        finish(output, f"certify for tier {terms.tier}", policy, signer=certifier.signatory.id)
        return
    _agree(args, output)
    done = certify(wheel, files.wheel.name, attestations, certifier, keys, terms, now=now)
    files.write_attestations(done.attestations, attestations)
    output.say(f"certified for tier {terms.tier} until {terms.expires:%Y-%m-%d %H:%M:%SZ} by {certifier.signatory.id}")
    output.result(
        {
            "ok": True,
            "attestations": str(files.attestations),
            "digest": done.manifest.artifact_digest,
            "signer": certifier.signatory.id,
            "awaiting": [],
            "previous": None if precedent is None else _told(precedent.manifest),
            "changes": [change.document for change in changes or ()],
        }
    )


def _keys(args: argparse.Namespace) -> Keys:
    from attestor.commands.places import deployment_if_any
    from attestor.signing.signatories import signatories, signatories_if_any

    deployment = deployment_if_any(args.deployment)
    return {
        "builder": signatories("builder", args, deployment),
        "rebuilder": signatories_if_any("rebuilder", args, None),
        "owner": signatories("owner", args, deployment),
    }


def _certifiers(args: argparse.Namespace) -> list[Any]:
    from attestor.signing.signatories import signatories_if_any

    return signatories_if_any("certifier", args, None)


def _precedent(args: argparse.Namespace, keys: Keys, found: Review) -> Precedent | None:
    """The earlier release, verified; None when none was asked for, or the registry knows of none."""
    from attestor.describing.precedent import open_precedent, read_precedent
    from attestor.describing.registry import previous_set
    from attestor.signing.certify import manifest_of
    from verifier.refreshing.api_client import api_token

    if args.previous:
        return read_precedent(Path(args.previous), keys)
    if not args.server:
        return None
    manifest = manifest_of(found)
    earlier = previous_set(args.server, api_token(args.token_file), manifest.plugin_id, manifest.artifact_digest)
    return None if earlier is None else open_precedent(earlier[1], keys, earlier[0])


def _told(manifest: SignedManifest) -> dict[str, str]:
    return {"version": manifest.version, "digest": manifest.artifact_digest}


def _compared(precedent: Precedent | None, changes: Sequence[Change] | None) -> list[str]:
    """The differences, for a person."""
    if precedent is None or changes is None:
        return ["compared with nothing: no earlier release was named, or none is known"]
    was, terms = precedent.manifest, precedent.certification.terms
    first = f"compared with {was.version} ({was.artifact_digest}), certified for tier {terms.tier}"
    return [first, *(f"  {change}" for change in changes)] if changes else [first, "  nothing differs"]


def _granted(found: Review, terms: Terms) -> list[str]:
    """What the signature would be under."""
    from verifier.formats.statement import CERTIFICATION
    from verifier.judging.evidence import TITLES

    evidence = [
        f"  {TITLES[kind]:<26}{statement.payload_digest}"
        for kind, statement in found.statements.items()
        if kind != CERTIFICATION
    ]
    granted = f"to be certified for tier {terms.tier} until {terms.expires:%Y-%m-%d %H:%M:%SZ}, resting on"
    layout = [] if terms.layout is None else [f"  {'fulfilled layout':<26}{terms.layout}"]
    return [granted, *evidence, *layout, *(f"  on condition: {condition}" for condition in terms.conditions)]


def _agree(args: argparse.Namespace, output: Output) -> None:
    """Ask the person at the terminal; where there is none, ``--yes`` has to be said.

    Raises:
        UsageError: ``usage.arguments``; Refused: ``certify.declined``.
    """
    if args.yes:
        return
    if output.json or not sys.stdin.isatty():
        raise UsageError(
            "usage.arguments", "nobody is here to be asked whether to certify this", expected="a terminal, or --yes",
            todo="Read what was shown; pass --yes if it may be certified.",
        )  # fmt: skip
    sys.stderr.write("Certify this? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("certify.declined", "the certifier said no", expected="y")


def _terms(args: argparse.Namespace) -> Terms:
    import hashlib

    from attestor.signing.certify import CERTIFIER, NO_POLICY, Terms
    from verifier.files import read_capped
    from verifier.formats.policy import MAX_POLICY
    from verifier.formats.statement import PolicyReference
    from verifier.formats.text import Hex

    policy = PolicyReference(uri=NO_POLICY)
    if args.policy:
        text = _policy_of(Path(args.policy)) or read_capped(Path(args.policy), MAX_POLICY, "the policy")
        digest = hashlib.sha256(text).hexdigest()
        policy = PolicyReference(uri="policy.json", digest={"sha256": Hex(digest)})
    return Terms(args.tier, _moment(args.expires), args.condition, args.certifier_id or CERTIFIER, policy)


def _policy_of(directory: Path) -> bytes | None:
    """The signed policy that an enrolled host goes by; None for anything but such a directory."""
    from verifier.deployment.chain import POLICY
    from verifier.deployment.home import Home

    if not (directory / "host.json").is_file():
        return None
    home = Home(directory)
    state = home.state()
    if state.trust is None:
        raise Refused("trust.missing", "this host has fetched no policy yet")
    stored = home.stored_trust(state.trust)
    home.verify(stored, state)
    return stored.targets[POLICY].encode()


def _moment(text: str) -> datetime:
    """A date (its first moment in UTC) or a moment.

    Raises:
        UsageError: ``usage.arguments``.
    """
    from verifier.formats.text import Time

    try:
        return Time(text if "T" in text else f"{text}T00:00:00Z").instant
    except ValueError as error:
        raise UsageError(
            "usage.arguments", "not a date", found=repr(text), expected="2026-12-31 or 2026-12-31T12:00:00Z"
        ) from error


CERTIFY_COMMANDS: tuple[Command, ...] = (
    Command("certify", "sign a tier and an expiry as the certifier", _configure, _certify),
)
