"""A signed provenance → all that a rebuild needs. What a provenance leaves open, or says in an unknown way, refuses.

``docs/spec/provenance.md`` specifies what is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from attestor.building.environment import Fixed, Interpreter
from attestor.building.source import clamp
from attestor.building.wheelhouse import MAX_WHEELS, LockedWheel
from verifier.addresses import split
from verifier.errors import Refused
from verifier.formats.statement import (
    BUILD_TYPE,
    PROVENANCE,
    BuildDefinition,
    Provenance,
    Resource,
    parse_provenance,
    parse_statement,
)
from verifier.formats.strict_json import quoted
from verifier.formats.text import Digest, Name
from verifier.judging.evidence import Attested, parse_attestations, payload_digest, verified_payload
from verifier.signatures.signatory import Signatory
from verifier.wheels.wheel import Snapshot

#: The environment variables that a provenance may fix; any other could make a build do anything.
VARIABLES: Final = frozenset({"LANG", "LC_ALL", "PYTHONHASHSEED", "PYTHONNOUSERSITE", "SOURCE_DATE_EPOCH", "TZ"})
#: How a repository may be reached.
SCHEMES: Final = frozenset({"https", "http", "ssh", "git"})

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OBJECT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_INTERPRETER = re.compile(r"pkg:generic/([a-z]+)@([0-9A-Za-z.+-]{1,40})")
_UMASK = re.compile(r"0[0-7]{3}")
_EPOCH = re.compile(r"[0-9]{1,11}")


@dataclass(frozen=True)
class Recipe:
    """What a provenance says of how a wheel was built.

    Args:
        builder_id: the URI of who built.
        statement: the digest of the provenance's statement, by which another one names it.
        kind: ``git`` or ``sdist``.
        commit, tree, repository, ref, subdirectory: of ``git``, as in :class:`attestor.building.source.Source`.
        sha256, purl: of ``sdist``, likewise.
        wheels: exactly the wheels of the build environment.
        interpreter: the Python that built.
        fixed: the other inputs.
        config_settings: options for the build backend.
    """

    builder_id: str
    statement: Digest
    kind: Literal["git", "sdist"]
    commit: str
    tree: str
    repository: str
    ref: str
    subdirectory: str
    sha256: str
    purl: str
    wheels: tuple[LockedWheel, ...]
    interpreter: Interpreter
    fixed: Fixed
    config_settings: Mapping[str, str]

    def differences(self, here: Interpreter, network: str) -> Iterator[str]:
        """What a rebuild with the interpreter ``here`` cannot give the same as it was, in words."""
        then = self.interpreter
        python, python_then = f"{here.implementation} {here.version}", f"{then.implementation} {then.version}"
        if python.lower() != python_then.lower():
            yield f"another interpreter: {python} here, {python_then} then"
        elif here.sha256 != then.sha256:
            yield f"another build of {python}: sha256 {here.sha256[:12]}… here, {then.sha256[:12]}… then"
        if here.platform != then.platform:
            yield f"another platform: {here.platform} here, {quoted(then.platform)} then"
        if here.zlib != then.zlib:
            yield f"another zlib, which may compress to other bytes: {here.zlib} here, {quoted(then.zlib)} then"
        if network != self.fixed.network:
            yield f"the network: {network} here, {self.fixed.network} then"


def recipe_for(snapshot: Snapshot, attestations: bytes | None, builders: Sequence[Signatory]) -> Recipe:
    """The recipe of a wheel out of its attestation set. Of the set, only the provenance is read.

    Args:
        snapshot: the wheel, strictly read.
        attestations: the set's bytes; None when there is none.
        builders: the keys or identities whose word is taken for how the wheel was built.

    Raises:
        Refused: ``set.missing``, ``set.statement-missing``, ``set.duplicate``, ``signature.*``, ``subject.digest``,
            ``provenance.build-type``, ``rebuild.incomplete``.
        FormatError: any ``format.*`` code.
    """
    found: list[Attested] = []
    for bundle in parse_attestations(attestations):
        builder = next((builder for builder in builders if builder.selected_by(bundle)), None)
        if builder is None:
            continue
        payload = verified_payload(bundle, builder)
        statement = parse_statement(payload)
        if statement.predicate_type == PROVENANCE:
            found.append(Attested(statement, Name("builder"), payload_digest(payload)))
    if not found:
        raise Refused(
            "set.statement-missing", "the attestation set has no provenance by a builder that was named",
            expected="a provenance signed by " + " or ".join(key.id for key in builders),
            todo="Name the builder's key; a wheel that was built elsewhere has no provenance to rebuild from.",
        )  # fmt: skip
    if len(found) > 1:
        raise Refused("set.duplicate", "the set has several provenances by the builders that were named")
    (attested,) = found
    if f"sha256:{attested.statement.sha256}" != snapshot.digest:
        raise Refused(
            "subject.digest", "the provenance is about another artifact",
            found=f"sha256:{attested.statement.sha256}", expected=snapshot.digest,
        )  # fmt: skip
    return read_recipe(parse_provenance(attested.statement.predicate), attested.payload_digest)


def read_recipe(provenance: Provenance, statement: Digest) -> Recipe:
    """The recipe that a provenance holds.

    Raises:
        Refused: ``provenance.build-type``, ``rebuild.incomplete``.
    """
    definition = provenance.buildDefinition
    if definition.buildType != BUILD_TYPE:
        raise Refused(
            "provenance.build-type", "a wheel of this build type cannot be rebuilt",
            found=quoted(definition.buildType), expected=BUILD_TYPE,
        )  # fmt: skip
    resources = definition.resolvedDependencies
    if [one.name for one in resources[:2]] != ["source", "interpreter"]:
        raise _incomplete("source and interpreter do not come first among the inputs")
    if len(resources) > MAX_WHEELS + 2:
        raise _incomplete(f"the build environment has more than {MAX_WHEELS} wheels")
    source, python, *wheels = resources
    asked = definition.externalParameters
    kind, commit, tree, sha256 = _source(source)
    return Recipe(
        builder_id=provenance.runDetails.builder.id,
        statement=statement,
        kind=kind,
        commit=commit,
        tree=tree,
        repository=_repository(asked.repository),
        ref=asked.ref,
        subdirectory=_subdirectory(asked.subdirectory),
        sha256=sha256,
        purl=asked.sdist,
        wheels=tuple(sorted(map(_wheel, wheels))),
        interpreter=_interpreter(python, definition),
        fixed=_fixed(definition.internalParameters),
        config_settings=asked.config_settings,
    )


def _source(resource: Resource) -> tuple[Literal["git", "sdist"], str, str, str]:
    digest = resource.digest
    if set(digest) == {"sha256"} and _SHA256.fullmatch(digest["sha256"]):
        return "sdist", "", "", digest["sha256"]
    if set(digest) == {"gitCommit", "gitTree"} and all(map(_OBJECT.fullmatch, digest.values())):
        return "git", digest["gitCommit"], digest["gitTree"], ""
    raise _incomplete("the source is neither a commit with its tree nor an sdist", ", ".join(sorted(digest)))


def _repository(address: str) -> str:
    if address and split(address).scheme not in SCHEMES:
        raise _incomplete("the repository has an address of an unknown kind", address)
    return address


def _subdirectory(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\\" in path:
        raise _incomplete("the subdirectory is not below the repository's top", path)
    return path


def _wheel(resource: Resource) -> LockedWheel:
    """A wheel of the build environment; its file name becomes a path, so it is taken apart first."""
    try:
        name, version, _, _ = parse_wheel_filename(resource.name)
    except InvalidWheelFilename as error:
        raise _incomplete("an input has not the file name of a wheel", resource.name) from error
    sha256 = resource.digest.get("sha256", "")
    wheel = LockedWheel(name, str(version), resource.name, sha256)
    if "/" in resource.name or resource.uri != wheel.purl or not _SHA256.fullmatch(sha256):
        raise _incomplete("an input's name, package URL and sha256 do not fit together", resource.name)
    return wheel


def _interpreter(resource: Resource, definition: BuildDefinition) -> Interpreter:
    uri = _INTERPRETER.fullmatch(resource.uri)
    sha256 = resource.digest.get("sha256", "")
    if uri is None or not _SHA256.fullmatch(sha256):
        raise _incomplete("the interpreter is not told by version and sha256", resource.uri)
    values = definition.internalParameters
    return Interpreter(
        implementation=uri[1], version=uri[2], sha256=sha256,
        platform=_text(values, "platform"), zlib=_text(values, "zlib"),
    )  # fmt: skip


def _fixed(values: Mapping[str, Any]) -> Fixed:
    variables = values.get("environment")
    if not isinstance(variables, dict) or not all(isinstance(value, str) for value in variables.values()):
        raise _incomplete("the environment variables are not recorded")
    if unknown := sorted(variables.keys() - VARIABLES):
        raise _incomplete("an environment variable was fixed that this release does not set", unknown[0])
    epoch = variables.get("SOURCE_DATE_EPOCH", "")
    if not _EPOCH.fullmatch(epoch) or clamp(int(epoch)) != int(epoch):
        raise _incomplete("SOURCE_DATE_EPOCH is no time that a wheel can hold", epoch)
    umask, network = _text(values, "umask"), _text(values, "network")
    if not _UMASK.fullmatch(umask):
        raise _incomplete("the umask is not recorded in octal", umask)
    if network not in {"none", "not-cut"}:
        raise _incomplete("it is not recorded whether there was a network", network)
    return Fixed(
        epoch=int(epoch), umask=int(umask, 8), network="none" if network == "none" else "not-cut", variables=variables,
        processes="own" if values.get("processes") == "own" else "shared",
    )  # fmt: skip


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise _incomplete(f"the parameter {name!r} is not recorded")
    return value


def _incomplete(what: str, found: str = "") -> Refused:
    return Refused(
        "rebuild.incomplete", f"the provenance is not enough to rebuild from: {what}", found=quoted(found)[:200]
    )
