"""The commands of a plugin's owner: attest, endorse, publish.

That of its certifier is in :mod:`attestor.commands.certify`; those that check what is released in
:mod:`attestor.commands.check`, that of a rebuilder in :mod:`attestor.commands.rebuild`, those of layouts in
:mod:`attestor.commands.layout`, those that make keys known in :mod:`attestor.commands.key`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attestor.commands.author import AUTHOR_COMMANDS
from attestor.commands.certify import CERTIFY_COMMANDS
from attestor.commands.check import CHECK_COMMANDS
from attestor.commands.handover import HANDOVER_COMMANDS
from attestor.commands.key import KEY_COMMANDS
from attestor.commands.key_options import add_identities, add_key, add_keyless
from attestor.commands.layout import LAYOUT_COMMANDS, chain_of, configure_chain
from attestor.commands.rebuild import REBUILD_COMMANDS
from attestor.commands.rehearsal_options import add_rehearsal, finish, rehearse
from attestor.commands.remark_options import add_remarks, telling
from verifier.command import Command, Output
from verifier.errors import UsageError
from verifier.progress import WIDTH

if TYPE_CHECKING:
    from attestor.checking.remarks import Remark
    from attestor.checking.review import Keys
    from attestor.commands.places import WheelFiles
    from attestor.pipeline import Attestation, Described, Options

#: How long a certification lasts that ``attest --all-roles`` makes.
DEMO_CERTIFICATION = timedelta(days=90)


# -- attest ------------------------------------------------------------------------------------------------------------


def _configure_attest(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "source", nargs="?", metavar="SOURCE", help="a directory in a clean git repository, or an sdist"
    )
    source.add_argument(
        "--wheel",
        metavar="FILE",
        action="append",
        help="a wheel that was built elsewhere; no provenance is claimed. Repeat it for all wheels of a release",
    )
    parser.add_argument("-o", "--output", metavar="DIST", required=True, help="where wheel and attestation set go")
    parser.add_argument("--manifest", metavar="FILE", help="the plugin manifest (default: the source's own)")
    add_key(parser, "builder")
    add_keyless(parser)
    parser.add_argument("--build-wheelhouse", metavar="DIR", help="take wheels from here alone and connect to nothing")
    parser.add_argument("--wheelhouse", metavar="DIR", help="collect the wheels of locked dependencies here")
    parser.add_argument("--sbom-version", choices=("1.6", "1.7"), default="1.6", help="of CycloneDX")
    parser.add_argument(
        "--embed-sbom",
        metavar="FILE",
        help="what the wheel must embed: its dependencies' SBOM, written here when it differs",
    )
    parser.add_argument("--builder-id", metavar="URI", help="who builds (default: a builder on somebody's own machine)")
    parser.add_argument("--invocation-id", metavar="URI", default="", help="which run of CI this is")
    parser.add_argument(
        "--config-setting", metavar="NAME=VALUE", action="append", default=[], help="for the build backend"
    )
    parser.add_argument(
        "--once", action="store_true", help="build once: reproducibility is not checked, and that is said"
    )
    parser.add_argument("--sdist", action="store_true", help="build the sdist too; the provenance names its sha256")
    parser.add_argument("--all-roles", action="store_true", help="sign as owner and certifier too (demo profile only)")
    add_remarks(parser)
    add_rehearsal(parser)


def _attest(args: argparse.Namespace, output: Output, _remarks: list[Remark]) -> None:
    from attestor import pipeline
    from attestor.commands.places import deployment_if_any
    from attestor.signing.rehearsal import rehearse_attestation
    from attestor.signing.signatories import statement_signer

    now = datetime.now(UTC)
    deployment = deployment_if_any(args.deployment)
    if args.all_roles:
        _require_demo(deployment)
    builder = statement_signer("builder", args, deployment)
    options = _options(args)
    described = _describe(args, options, now, output)
    policies = {
        one.file_name: rehearse(
            args, deployment, (one.file_name, one.wheel), output, now,
            partial(rehearse_attestation, described=one, builder=builder.signatory),
        )
        for one in described
    }  # fmt: skip
    if args.dry_run:
        number = sum(len(one.drafts) for one in described)
        would = f"sign {number} statements as the builder, {builder.signatory.id}, write to {args.output}"
        first = described[0].file_name
        finish(
            output, would, policies[first] if len(described) == 1 else dict(policies), signer=builder.signatory.id,
            digest=described[0].manifest.artifact_digest if len(described) == 1 else None,
        )  # fmt: skip
        return
    made = [pipeline.sign(one, builder, progress=output.progress) for one in described]
    if args.wheelhouse:
        locked = tuple(dict.fromkeys(wheel for one in made for wheel in one.locked))
        options.house.collect(locked, Path(args.wheelhouse))
        output.say(f"{'wheelhouse':<{WIDTH}}{len(locked)} locked wheels in {args.wheelhouse}")
    sets = [_all_roles(one, args, deployment, now) if args.all_roles else one.attestations for one in made]
    _hand_over(made, sets, args, output)


def _describe(args: argparse.Namespace, options: Options, now: datetime, output: Output) -> list[Described]:
    """What is to be signed: of a source its wheel, or each of the wheels of one release."""
    from attestor import pipeline
    from attestor.describing.embedded import EmbeddedSbomDiffers
    from verifier.files import write_atomic

    if args.sdist and args.wheel:
        raise UsageError("usage.arguments", "no sdist is built of a wheel", todo="Leave --sdist out.")
    describe = pipeline.describe_wheel if args.wheel else pipeline.describe_source
    try:
        found = [
            describe(Path(name), options, now=now, progress=output.progress) for name in args.wheel or [args.source]
        ]
    except EmbeddedSbomDiffers as refusal:
        if not args.dry_run:
            write_atomic(Path(args.embed_sbom), refusal.expected_bytes)
            refusal.todo = f"{args.embed_sbom} was written: commit it, and let the build put it into .dist-info/sboms/."
        raise
    if len({one.file_name for one in found}) != len(found):
        raise UsageError("usage.arguments", "a wheel is named twice", expected="each wheel of the release once")
    return found


def _hand_over(made: Sequence[Attestation], sets: Sequence[bytes], args: argparse.Namespace, output: Output) -> None:
    """Write what was made, all of it or nothing, and say what is still to be signed."""
    from attestor.commands.places import WheelFiles
    from verifier.files import write_together

    written: dict[Path, bytes] = {}
    documents: list[dict[str, Any]] = []
    for one, attestations in zip(made, sets, strict=True):
        files = WheelFiles(Path(args.output) / one.file_name)
        written |= {files.wheel: one.wheel, files.attestations: attestations}
        written |= {files.log: one.log} if one.log else {}
        written |= {Path(args.output) / one.sdist.file_name: one.sdist.data} if one.sdist else {}
        written |= {} if args.all_roles else {files.unsigned: one.unsigned}
        documents.append(_document(one, files, None if args.all_roles else files.unsigned))
    write_together(written)
    awaiting = [] if args.all_roles else ["owner", "certifier"]
    for document in documents:
        if args.all_roles:
            WheelFiles(Path(document["wheel"])).unsigned.unlink(missing_ok=True)
        output.say(f"{'written':<{WIDTH}}{document['wheel']}")
    output.say(f"awaiting {', '.join(awaiting)}" if awaiting else "signed by builder, owner and certifier")
    told = documents[0] if len(documents) == 1 else {"wheels": documents}
    output.result({"ok": True, **told, "awaiting": awaiting})


def _document(made: Attestation, files: WheelFiles, unsigned: Path | None) -> dict[str, Any]:
    """One wheel, for JSON."""
    return {
        "wheel": str(files.wheel),
        "attestations": str(files.attestations),
        "unsigned": None if unsigned is None else str(unsigned),
        "sdist": str(files.wheel.with_name(made.sdist.file_name)) if made.sdist else None,
        "digest": made.manifest.artifact_digest,
        "plugin_id": made.manifest.plugin_id,
        "version": made.manifest.version,
        "locked": [wheel.file_name for wheel in made.locked],
    }


def _options(args: argparse.Namespace) -> Options:
    from attestor.building.wheelhouse import Wheelhouse
    from attestor.describing.provenance import LOCAL_BUILDER
    from attestor.pipeline import Options

    folder = Path(args.build_wheelhouse) if args.build_wheelhouse else None
    if folder is not None and not folder.is_dir():
        raise UsageError("usage.arguments", "the wheelhouse is not a directory", found=repr(args.build_wheelhouse))
    return Options(
        manifest=Path(args.manifest) if args.manifest else None,
        house=Wheelhouse(folder),
        builder_id=args.builder_id or LOCAL_BUILDER,
        invocation_id=args.invocation_id,
        config_settings=_settings(args.config_setting),
        once=args.once,
        sdist=args.sdist,
        sbom_version=args.sbom_version,
        embedded_sbom=args.embed_sbom is not None,
    )


def _settings(given: list[str]) -> Mapping[str, str]:
    settings: dict[str, str] = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not name or not equals or name in settings:
            raise UsageError("usage.arguments", "a config setting is malformed or given twice", found=repr(setting))
        settings[name] = value
    return settings


def _require_demo(deployment: Path | None) -> Path:
    """The demo deployment's directory: only there do the keys of all roles lie in one place."""
    if deployment is None or not (deployment / "principals").is_dir():
        raise UsageError(
            "usage.deployment", "only a demo deployment holds the keys of all roles", todo="Leave --all-roles out."
        )
    return deployment


def _all_roles(made: Attestation, args: argparse.Namespace, deployment: Path | None, now: datetime) -> bytes:
    """The set with all three signatures."""
    from attestor.signing.certify import Terms, certify
    from attestor.signing.endorse import endorse
    from attestor.signing.signatories import statement_signer
    from attestor.signing.signers import load_signer

    principals = _require_demo(deployment) / "principals"
    builder = statement_signer("builder", args, deployment)
    owner, certifier = (load_signer(principals / f"{role}.pem") for role in ("owner", "certifier"))
    endorsed = endorse(
        made.wheel, made.file_name, made.attestations, made.unsigned, owner, [builder.signatory], now=now
    )
    keys: Keys = {"builder": [builder.signatory], "owner": [owner.signatory]}
    terms = Terms("core", now + DEMO_CERTIFICATION)
    return certify(made.wheel, made.file_name, endorsed.attestations, certifier, keys, terms, now=now).attestations


# -- endorse -----------------------------------------------------------------------------------------------------------


def _configure_endorse(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheel", metavar="WHEEL", help="the wheel; its set and unsigned manifest lie beside it")
    add_key(parser, "owner")
    add_keyless(parser)
    add_identities(parser, "builder", "rebuilder")
    parser.add_argument("--builder-key", metavar="FILE", action="append", help="the public key of an accepted builder")
    parser.add_argument("--rebuilder-key", metavar="FILE", action="append", help="that of an accepted rebuilder")
    add_rehearsal(parser)


def _endorse(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import WheelFiles, deployment_if_any
    from attestor.signing.endorse import endorse
    from attestor.signing.rehearsal import rehearse_endorsement
    from attestor.signing.signatories import signatories, signatories_if_any, statement_signer
    from verifier.judging.covenant import found_out, readable

    deployment = deployment_if_any(args.deployment)
    files = WheelFiles(Path(args.wheel))
    owner = statement_signer("owner", args, deployment)
    builders = signatories("builder", args, deployment)
    rebuilders, now = signatories_if_any("rebuilder", args, None), datetime.now(UTC)
    wheel, attestations, unsigned = files.read_wheel(), files.read_attestations(), files.read_unsigned()
    policy = rehearse(
        args, deployment, (files.wheel.name, wheel), output, now,
        lambda case: rehearse_endorsement(case, attestations, unsigned, owner.signatory, builders, rebuilders),
    )  # fmt: skip
    if args.dry_run:
        _look(wheel, files, attestations, unsigned, {"builder": builders, "rebuilder": rebuilders}, output)
        finish(output, f"sign the manifest as the owner, {owner.signatory.id}", policy, signer=owner.signatory.id)
        return
    done = endorse(
        wheel, files.wheel.name, attestations, unsigned, owner, builders, now=now, rebuilders=rebuilders
    )  # fmt: skip
    files.write_attestations(done.attestations, attestations)
    files.unsigned.unlink(missing_ok=True)
    for line in (*readable(done.manifest), *found_out(done.findings)):
        output.say(line)
    output.say(f"endorsed by {owner.signatory.id}")
    output.result(
        _summary(files.attestations, done.manifest.artifact_digest, owner.signatory.id, awaiting=["certifier"])
    )


def _look(
    wheel: bytes, files: WheelFiles, attestations: bytes | None, unsigned: bytes, keys: Keys, output: Output
) -> None:
    """Compare and show what an owner would sign, without signing."""
    from attestor.checking.review import manifest_awaiting, review
    from verifier.judging.covenant import readable

    for line in readable(manifest_awaiting(unsigned, review(wheel, files.wheel.name, attestations, keys))):
        output.say(line)


# -- publish -----------------------------------------------------------------------------------------------------------


def _configure_publish(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheel", metavar="WHEEL", help="the wheel; its set lies beside it")
    parser.add_argument("--server", metavar="URL", help="the server (else $LOADLOCK_SERVER, else the deployment's)")
    parser.add_argument("--token-file", metavar="FILE", help="a file with the API token (else $LOADLOCK_TOKEN)")
    configure_chain(parser)
    parser.add_argument("--owner-key", metavar="FILE", action="append", help="the public key of the layout's owner")
    add_rehearsal(parser)


def _publish(args: argparse.Namespace, output: Output) -> None:
    from attestor.commands.places import WheelFiles, deployment_if_any, public_keys, server_address
    from attestor.publish import publish
    from attestor.signing.rehearsal import rehearse_publication
    from verifier.errors import Refused
    from verifier.judging.evidence import parse_attestations
    from verifier.refreshing.api_client import api_token

    deployment = deployment_if_any(args.deployment)
    files = WheelFiles(Path(args.wheel))
    attestations = files.read_attestations()
    if attestations is None:
        raise Refused("set.missing", "there is nothing to publish with the wheel", expected=files.attestations.name)
    server, wheel = server_address(args.server, deployment), files.read_wheel()
    owners = public_keys("owner", args.owner_key, deployment) if args.layout else []
    chain, fulfilled = chain_of(args, files, wheel, owners, datetime.now(UTC))
    if fulfilled is not None:
        output.say(f"made as laid out in {fulfilled.payload}: {', '.join(fulfilled.steps)}")
    policy = rehearse(
        args, deployment, (files.wheel.name, wheel), output, datetime.now(UTC),
        lambda case: rehearse_publication(case, attestations),
    )  # fmt: skip
    if args.dry_run:
        parse_attestations(attestations)
        finish(output, f"send {files.wheel.name} and its set to {server}", policy, server=server)
        return
    token = api_token(args.token_file)
    with output.progress.step("send") as step:
        answer = publish(server, token, wheel, files.wheel.name, attestations, chain)
        step.says(f"{files.wheel.name} to {server}")
    output.say(f"published {files.wheel.name}")
    output.result({"ok": True, "server": server, "answer": answer})


def _summary(attestations: Path, digest: str, signer: str, *, awaiting: list[str]) -> dict[str, Any]:
    return {"ok": True, "attestations": str(attestations), "digest": digest, "signer": signer, "awaiting": awaiting}


COMMANDS: tuple[Command, ...] = (
    *AUTHOR_COMMANDS,
    Command("attest", "build a plugin, describe it, sign as its builder", _configure_attest, telling(_attest)),
    *CHECK_COMMANDS,
    Command("endorse", "sign the plugin manifest as the owner", _configure_endorse, _endorse),
    *CERTIFY_COMMANDS,
    *REBUILD_COMMANDS,
    *LAYOUT_COMMANDS,
    Command("publish", "hand wheel and attestation set to the server", _configure_publish, _publish),
    *KEY_COMMANDS,
    *HANDOVER_COMMANDS,
)
