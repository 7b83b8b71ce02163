"""Standing revocation rules: what a rule matches, and what of an artifact it is held against. Pure.

A rule denies what it matches, but the artifacts that it excepts. So does one that this release cannot evaluate: of an
unknown kind, with an unknown field, or with a range that is none. The kinds are those of
``docs/spec/revocation-list.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Literal
from urllib.parse import unquote

from msgspec import Meta

from verifier.errors import FormatError
from verifier.formats.manifest import SignedManifest
from verifier.formats.packages import normalised, order
from verifier.formats.revocations import Rule
from verifier.formats.sbom import Component
from verifier.formats.strict_json import Document, convert
from verifier.formats.text import Digest, Name, PluginId, Specifier, Uri, Version
from verifier.judging.evidence import Attested
from verifier.value import Value

Provided = Callable[[str], str | None]
Verdict = Literal["clear", "matched", "unsupported"]

MAX_PART = 1000
"""How many characters of a component's purl, name or version are kept: longer than any that a rule can name."""


class Part(Document, frozen=True, kw_only=True):
    """Something that an artifact brings along, as its SBOM or its lock says."""

    purl: str = ""
    name: str
    version: str = ""


class Subject(Document, frozen=True, kw_only=True):
    """What rules look at in one artifact; the registry keeps it, so that later rules find what was admitted before.

    Attributes:
        signers, keys: whose statements counted, and with which keys they were signed.
        statements: the sha256 of the payloads that counted.
        parts: the components of the SBOM, the locked dependencies, and the plugin itself as a package.
    """

    artifact: Digest
    plugin_id: PluginId
    version: Version
    signers: tuple[Name, ...]
    keys: tuple[Digest, ...]
    statements: tuple[Digest, ...]
    builder: str
    repository: str
    commit: str = ""
    parts: tuple[Part, ...] = ()


class SignerMatch(Document, frozen=True, kw_only=True):
    """By whom a statement counted, or with which key it was signed: one of the two."""

    principal: Name | None = None
    key: Digest | None = None

    def __post_init__(self) -> None:
        if (self.principal is None) == (self.key is None):
            raise ValueError("either principal or key")

    def matches(self, subject: Subject) -> bool:
        """Whether an artifact is meant."""
        return self.principal in subject.signers or self.key in subject.keys


class BuilderMatch(Document, frozen=True, kw_only=True):
    """Where it was built."""

    id: Annotated[Uri, Meta(min_length=1)]

    def matches(self, subject: Subject) -> bool:
        """Whether an artifact is meant."""
        return subject.builder == self.id


class SourceMatch(Document, frozen=True, kw_only=True):
    """From which repository it was built, or from which commit of it."""

    repository: Annotated[Uri, Meta(min_length=1)]
    commit: Annotated[str, Meta(pattern=r"\A([0-9a-f]{40}|[0-9a-f]{64})\Z")] | None = None

    def matches(self, subject: Subject) -> bool:
        """Whether an artifact is meant."""
        return subject.repository == self.repository and self.commit in (None, subject.commit)


class PluginMatch(Document, frozen=True, kw_only=True):
    """A plugin, in all of its versions or in a range of them."""

    id: PluginId
    range: Specifier | None = None

    def matches(self, subject: Subject) -> bool:
        """Whether an artifact is meant."""
        return subject.plugin_id == self.id and within(self.range, subject.version)


class ComponentMatch(Document, frozen=True, kw_only=True):
    """A package that it brings along, in any version or in a range of them."""

    purl: Annotated[str, Meta(max_length=500, pattern=r"\Apkg:[^@?# ]+\Z")]
    range: Specifier | None = None

    def __post_init__(self) -> None:
        if _package(self.purl) is None:
            raise ValueError("a purl of a package, without version or qualifiers")

    def matches(self, subject: Subject) -> bool:
        """Whether an artifact is meant."""
        wanted = _package(self.purl)
        return any(_is(wanted, part) and _any_within(self.range, part) for part in subject.parts)


class StatementMatch(Document, frozen=True, kw_only=True):
    """A signed statement that it rests on, by the sha256 of its payload."""

    digest: Digest

    def matches(self, subject: Subject) -> bool:
        """Whether an artifact is meant."""
        return self.digest in subject.statements


Match = SignerMatch | BuilderMatch | SourceMatch | PluginMatch | ComponentMatch | StatementMatch

KINDS: dict[str, type[Match]] = {
    "signer": SignerMatch,
    "builder": BuilderMatch,
    "source": SourceMatch,
    "plugin": PluginMatch,
    "component": ComponentMatch,
    "statement": StatementMatch,
}
"""What each kind of rule may say under ``match``."""


def parse_match(rule: Rule) -> Match:
    """What a rule matches.

    Raises:
        FormatError: this release cannot evaluate the rule: such a rule denies.
    """
    kind = KINDS.get(rule.kind)
    if kind is None:
        raise FormatError("format.unsupported", "a standing rule of an unknown kind", found=ascii(rule.kind))
    return convert(rule.match, kind, what=f"standing rule {rule.id}")


def judge(rule: Rule, subject: Subject) -> Verdict:
    """What a rule says of an artifact: anything but ``clear`` denies it."""
    return verdict_of(rule, match_of(rule), subject)


def match_of(rule: Rule) -> Match | None:
    """What a rule matches; None if this release cannot evaluate it."""
    try:
        return parse_match(rule)
    except FormatError:
        return None


def verdict_of(rule: Rule, match: Match | None, subject: Subject) -> Verdict:
    """What a rule says of an artifact; ``match`` is what it matches, as :func:`match_of` tells it."""
    if subject.artifact in rule.excepted:
        return "clear"
    if match is None:
        return "unsupported"
    return "matched" if match.matches(subject) else "clear"


def package_of(match: Match | None) -> str | None:
    """The last part of the name of the one package that a rule is about; None for a rule about anything else, or one
    that cannot be evaluated.
    """
    package = _package(match.purl) if isinstance(match, ComponentMatch) else None
    return None if package is None else _last(package)


def package_names(subject: Subject) -> frozenset[str]:
    """The last parts of the names of all packages that an artifact brings along. A rule about a package can match only
    an artifact that has its :func:`package_of` among them.
    """
    purls = (_package(part.purl) for part in subject.parts)
    names = {package.name for package in purls if package is not None} | {part.name for part in subject.parts}
    return frozenset(normalised(name.rpartition("/")[2]) for name in names)


def subject_of(
    manifest: SignedManifest,
    attested: Iterable[Attested],
    components: Iterable[Component],
    provided: Provided | None,
) -> Subject:
    """What rules look at, from values that signatures cover.

    Args:
        manifest: the signed manifest, which provenance has agreed with where there is one.
        attested: the statements that count.
        components: of the SBOM.
        provided: looks up what the host's environment provides, which an SBOM lists without a version; None where
            there is no host, and nothing is known of that.
    """
    counted = tuple(attested)
    of_the_host = {entry.project for entry in manifest.host_provided}
    parts = [Part(name=dependency.name, version=dependency.version) for dependency in manifest.dependencies]
    parts.append(Part(name=normalised(manifest.plugin_id), version=manifest.version))
    for found in components:
        name, version = normalised(found.name), found.version
        if not version and name in of_the_host:
            known = provided(name) if provided is not None else None
            if known is None:
                continue
            version = known
        parts.append(Part(purl=found.purl[:MAX_PART], name=found.name[:MAX_PART], version=version[:MAX_PART]))
    return Subject(
        artifact=manifest.artifact_digest,
        plugin_id=manifest.plugin_id,
        version=manifest.version,
        signers=tuple(sorted({entry.signer for entry in counted})),
        keys=tuple(sorted({entry.made.key for entry in counted if entry.made.key is not None})),
        statements=tuple(sorted(entry.payload_digest for entry in counted)),
        builder=manifest.built_by,
        repository=manifest.source.repository,
        commit=manifest.source.commit or "",
        parts=tuple(dict.fromkeys(parts)),
    )


def within(versions: Specifier | None, version: str) -> bool:
    """Whether a version lies in a range that is to be denied; one that nobody can order does.

    ``<`` and ``>`` compare plainly: a pre-release of the version that mends a flaw comes before it (PEP 440 would leave
    it out).
    """
    if versions is None:
        return True
    from packaging.specifiers import SpecifierSet  # see ``verifier/formats/packages.py``

    try:
        compared = order(version)
    except ValueError:
        return True
    for specifier in SpecifierSet(versions):
        if specifier.operator in ("<", ">"):
            bound = order(specifier.version)
            inside = compared < bound if specifier.operator == "<" else compared > bound
        else:
            inside = specifier.contains(compared, prereleases=True)
        if not inside:
            return False
    return True


class _Package(Value, frozen=True):
    type: str
    name: str
    version: str


def _package(purl: str) -> _Package | None:
    """The package that a purl names (purl specification), or None when it is none."""
    scheme, colon, rest = purl.partition(":")
    body, _, version = rest.partition("#")[0].partition("?")[0].strip("/").rpartition("@")
    if not body:
        body, version = version, ""
    kind, _, name = body.partition("/")
    name = unquote(name).strip("/").casefold()
    if kind.casefold() == "pypi":  # it has no namespaces: what is written as one does not make another package of it
        name = name.rpartition("/")[2]
    if scheme.casefold() != "pkg" or not colon or not kind or not name:
        return None
    kind = kind.casefold()
    return _Package(kind, normalised(name) if kind == "pypi" else name, unquote(version))


def _is(wanted: _Package | None, part: Part) -> bool:
    """Whether a part is of a package. Without a usable purl its name decides, whatever the package's type; where purl
    and name are two packages' it is both, for the owner's allow-list goes by the name.
    """
    assert wanted is not None  # noqa: S101 - a rule without a usable purl was not parsed
    found, name = _package(part.purl), normalised(part.name)
    if found is not None and (found.type, found.name) == (wanted.type, wanted.name):
        return True
    is_told_by_name = found is None or _last(found) != name
    return is_told_by_name and name == _last(wanted)


def _last(package: _Package) -> str:
    """The last part of a package's name, without the namespace, as it is compared."""
    return normalised(package.name.rpartition("/")[2])


def _any_within(versions: Specifier | None, part: Part) -> bool:
    found = _package(part.purl)
    stated = {part.version, found.version if found else ""} - {""}
    return not stated or any(within(versions, version) for version in stated)
