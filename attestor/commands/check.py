"""The commands that check what is about to be released, between building it and signing for it."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attestor.commands.key_options import add_identities, add_key, add_keyless
from attestor.commands.remark_options import add_remarks, telling
from verifier.command import Command, Output
from verifier.errors import LoadlockError, Unreachable, UsageError

if TYPE_CHECKING:
    from attestor.checking.amend import Amended, Subject
    from attestor.checking.audit import Audit, Known
    from attestor.checking.checks import Options
    from attestor.checking.remarks import Remark
    from attestor.checking.review import Keys
    from attestor.commands.places import WheelFiles
    from attestor.signing.signers import Signer
    from verifier.formats.text import Duration


# -- what both share ---------------------------------------------------------------------------------------------------


def _configure_amending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("wheel", metavar="WHEEL", help="the wheel; its set and its manifest lie beside it")
    add_key(parser, "builder")
    add_keyless(parser)
    add_identities(parser, "builder", "rebuilder", "owner", "certifier")
    for role in ("builder", "rebuilder", "owner", "certifier"):
        parser.add_argument(
            f"--{role}-key",
            metavar="FILE",
            action="append",
            help=f"the public key of the {role} who has signed already",
        )
    parser.add_argument(
        "--report-only", action="store_true", help="exit with 0 whatever was found; it is signed all the same"
    )
    add_remarks(parser)


def _open(args: argparse.Namespace) -> tuple[WheelFiles, bytes | None, Signer, Subject]:
    """The wheel and its set, as bytes and reviewed, and the key that what is found will be signed with."""
    from attestor.checking.amend import open_subject
    from attestor.commands.places import WheelFiles, deployment_if_any
    from attestor.signing.signatories import signatories_if_any, statement_signer

    deployment = deployment_if_any(args.deployment)
    files = WheelFiles(Path(args.wheel))
    builder = statement_signer("builder", args, deployment)
    keys: Keys = {
        "builder": [builder.signatory, *signatories_if_any("builder", args, deployment)],
        "rebuilder": signatories_if_any("rebuilder", args, None),
        "owner": signatories_if_any("owner", args, deployment),
        "certifier": signatories_if_any("certifier", args, deployment),
    }
    unsigned = files.read_unsigned() if files.unsigned.exists() else None
    attestations = files.read_attestations()
    subject = open_subject(files.read_wheel(), files.wheel.name, attestations, unsigned, keys)
    return files, attestations, builder, subject


def _write(files: WheelFiles, read: bytes | None, amended: Amended, output: Output) -> None:
    files.write_attestations(amended.attestations, read)
    if amended.certification_removed:
        output.say("the certification did not cover this and was removed: have it certified again")


# -- check vulnerabilities ---------------------------------------------------------------------------------------------


def _configure_vulnerabilities(parser: argparse.ArgumentParser) -> None:
    _configure_amending(parser)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--osv-db", metavar="PATH", help="your own OSV database, a directory or a zip: no network")
    source.add_argument("--service", choices=("osv", "pypi"), default="osv", help="the online service to ask")
    parser.add_argument("--service-url", metavar="URL", help="where an OSV service of your own answers queries")
    parser.add_argument("--max-age", metavar="DURATION", help="how old the database may be (default: P7D)")


def _vulnerabilities(args: argparse.Namespace, output: Output, remarks: list[Remark]) -> int:
    from attestor.checking.amend import amend
    from verifier.formats.statement import VULNERABILITIES
    from verifier.formats.strict_json import dumps, plain

    max_age = _max_age(args)
    files, read, builder, subject = _open(args)
    with output.progress.step("audit") as step:
        audit = _audit(args, subject, max_age)
        step.says(f"{len(audit.known)} dependencies")
    remarks += audit.remarks
    amended = amend(subject, VULNERABILITIES, dumps(audit.predicate), builder)
    _write(files, read, amended, output)
    for line in _told(audit):
        output.say(line)
    status = 0 if args.report_only else _status(audit)
    output.result(
        {
            "ok": status == 0,
            "attestations": str(files.attestations),
            "digest": subject.manifest.artifact_digest,
            "signer": builder.signatory.id,
            "audit": plain(audit.predicate),
            "certification_removed": amended.certification_removed,
        }
    )
    return status


def _max_age(args: argparse.Namespace) -> Duration:
    from attestor.checking.audit import MAX_AGE
    from verifier.formats.text import Duration

    if args.service_url and (args.osv_db or args.service != "osv"):
        raise UsageError("usage.arguments", "--service-url is the address of an OSV service")
    if args.max_age is None:
        return MAX_AGE
    if not args.osv_db:
        raise UsageError("usage.arguments", "--max-age is about a database: a service answers for now")
    try:
        return Duration(args.max_age)
    except ValueError as error:
        raise UsageError("usage.arguments", "not a duration", found=repr(args.max_age), expected="P7D") from error


def _audit(args: argparse.Namespace, subject: Subject, max_age: Duration) -> Audit:
    from attestor.checking.audit import audit_over_database, audit_over_service
    from attestor.checking.osv import read_database
    from verifier.formats.statement import SBOM

    now, manifest = datetime.now(UTC), subject.manifest
    sbom = subject.found.require(SBOM).statement.predicate
    if args.osv_db:
        database = read_database(Path(args.osv_db), now)
        return audit_over_database(manifest, database, now=now, max_age=max_age, sbom=sbom)
    return audit_over_service(manifest, args.service, now=now, address=args.service_url or "", sbom=sbom)


def _told(audit: Audit) -> list[str]:
    """The audit for a person, a dependency a line."""
    from attestor.checking.audit import described

    lines = []
    for entry in audit.known:
        stated = entry.audited
        lines.append(f"{stated.name} {stated.version or '(from the host)'}: {stated.outcome}" + _reason(stated.reason))
        lines += [f"  {described(found)}" for found in entry.findings]
    database = audit.predicate.audit
    if database.advisories is not None:
        lines.append(f"database: {database.advisories} advisories, {_newest(audit)}")
    if database.unread is not None:
        lines.append(f"  {database.unread.count} cannot be read: {', '.join(database.unread.names)}")
    return lines


def _newest(audit: Audit) -> str:
    database = audit.predicate.scanner.db
    return f"the newest of {database.lastUpdate}" if audit.predicate.audit.age else "none of them dated"


def _reason(reason: str) -> str:
    return f", {reason}" if reason else ""


def _status(audit: Audit) -> int:
    """0 when each dependency with a version is known to have no known vulnerability."""
    if any(entry.findings for entry in audit.known):
        return LoadlockError.exit_status
    if audit.gone:
        return Unreachable.exit_status
    return LoadlockError.exit_status if any(_unanswered(entry) for entry in audit.known) else 0


def _unanswered(entry: Known) -> bool:
    return bool(entry.reason) and entry.dependency.version is not None


# -- check release -----------------------------------------------------------------------------------------------------


def _configure_release(parser: argparse.ArgumentParser) -> None:
    _configure_amending(parser)
    parser.add_argument("--source", metavar="DIR", required=True, help="what the wheel was built from, as committed")
    parser.add_argument("--waivers", metavar="FILE", help="what is let pass: a TOML file with reasons and ends")
    parser.add_argument("--python", metavar="PROGRAM", help="the interpreter that runs the tests (default: this one)")
    parser.add_argument("--egress-tests", metavar="NAME", help="their marker, or their place in DIR (default: egress)")
    parser.add_argument(
        "--licence", metavar="SPDX", action="append", help="a licence that was agreed to, instead of the usual ones"
    )


def _release(args: argparse.Namespace, output: Output, remarks: list[Remark]) -> int:
    from attestor.checking.amend import amend
    from attestor.checking.checks import check_release
    from verifier.formats.statement import TEST_RESULT
    from verifier.formats.strict_json import dumps, plain

    options = _release_options(args)
    files, read, builder, subject = _open(args)
    checked = check_release(subject, Path(args.source), options, now=datetime.now(UTC), progress=output.progress)
    remarks += checked.remarks
    amended = amend(subject, TEST_RESULT, dumps(checked.predicate), builder)
    _write(files, read, amended, output)
    status = LoadlockError.exit_status if checked.predicate.result == "FAILED" and not args.report_only else 0
    output.say(_VERDICTS[checked.predicate.result])
    output.result(
        {
            "ok": status == 0,
            "attestations": str(files.attestations),
            "digest": subject.manifest.artifact_digest,
            "signer": builder.signatory.id,
            "checks": plain(checked.predicate),
            "certification_removed": amended.certification_removed,
        }
    )
    return status


_VERDICTS = {
    "PASSED": "every check passed",
    "WARNED": "every check passed or is waived",
    "FAILED": "not to be released: a check failed or did not run, and no waiver is in force",
}


def _release_options(args: argparse.Namespace) -> Options:
    from attestor.checking.checks import EGRESS, Options
    from attestor.checking.waivers import Waivers, read_waivers
    from attestor.describing.licences import ALLOWED, check_allowed

    egress = args.egress_tests or EGRESS
    if egress.startswith("-"):
        raise UsageError("usage.arguments", "neither a marker nor a place", found=repr(egress))
    return Options(
        python=args.python or sys.executable,
        egress=egress,
        allowed=check_allowed(args.licence) if args.licence else ALLOWED,
        waivers=read_waivers(Path(args.waivers)) if args.waivers else Waivers(),
    )


CHECK_COMMANDS: tuple[Command, ...] = (
    Command(
        "check vulnerabilities", "audit the dependencies, sign what is known of each", _configure_vulnerabilities,
        telling(_vulnerabilities),
    ),
    Command(
        "check release", "run the release checklist, sign how each check ended", _configure_release, telling(_release)
    ),
)  # fmt: skip
