"""Identities of keyless signers: whom a policy means by a principal without a key, and what a certificate states.

Nothing here is a pattern that somebody could fit by accident: every field is compared whole, and the one wildcard there
is stands at the end of a tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, NamedTuple, Protocol

from msgspec import Meta

from verifier.formats.patterns import compiled
from verifier.formats.strict_json import Document
from verifier.formats.text import Line, Text, Uri

MAX_IDENTITY = 16 * 1024
"""Size cap of a file with an identity in bytes."""

Trigger = Literal[
    "push", "release", "workflow_dispatch", "repository_dispatch", "schedule",  # GitHub
    "web", "api", "trigger", "pipeline", "parent_pipeline",  # GitLab, beside push and schedule
]  # fmt: skip
"""What may start a pipeline that signs. Pull and merge requests, and what follows from one, are not among them: whoever
can open one would sign."""
Runner = Literal["github-hosted", "gitlab-hosted", "self-hosted"]
Issuer = Annotated[Uri, Meta(min_length=1)]
Email = Annotated[str, Meta(max_length=254, pattern=r"\A[!-?A-~]+@[!-?A-~]+\Z")]


class RepositoryId(Text):
    """A repository's number at its host: it stays when the repository is renamed, and a new one of the old name has
    another.
    """

    __slots__ = ()
    grammar = r"[1-9][0-9]{0,18}"
    words = "a repository's number"


class Workflow(Text):
    """The address of a pipeline's definition, as certificates name it; ``@`` and a ref or commit may follow."""

    __slots__ = ()
    grammar = r"https://[A-Za-z0-9._~:/%+-]{1,400}(?:@[A-Za-z0-9._/+-]{1,200})?"
    words = "a workflow's address without wildcards, such as 'https://host/owner/name/.github/workflows/release.yml'"

    @property
    def file(self) -> str:
        """The address without what follows ``@``."""
        return self.partition("@")[0]


_REST: Final = r"[A-Za-z0-9._+-]+"
"""What the ``*`` at the end of a tag stands for."""


class RefPattern(Text):
    """A branch or tag in full, or tags that begin alike: ``refs/heads/main``, ``refs/tags/v*``."""

    __slots__ = ()
    grammar = r"refs/heads/[A-Za-z0-9._/+-]{1,200}|refs/tags/(?:[A-Za-z0-9._/+-]{1,200}\*?|\*)"
    words = "a ref such as 'refs/heads/main' or 'refs/tags/v*', with a '*' only at the end of a tag"

    def admits(self, ref: str) -> bool:
        """Whether ``ref`` is meant; ``*`` stands for one character at least, and for no further ``/``."""
        if not self.endswith("*"):
            return ref == self
        rest = ref.removeprefix(self[:-1])
        return rest != ref and compiled(_REST).fullmatch(rest) is not None


class Claims(NamedTuple):
    """What a signing certificate states of whoever it was issued to; empty where it states nothing.

    Attributes:
        subject: the one subject alternative name, a URI or an e-mail address.
        subject_kind: ``uri`` or ``email``.
        issuer: the OpenID Connect issuer whose token was shown.
        repository_id, ref, trigger, runner: of the run of a pipeline.
    """

    subject: str
    subject_kind: Literal["uri", "email"]
    issuer: str
    repository_id: str = ""
    ref: str = ""
    trigger: str = ""
    runner: str = ""


class WorkflowIdentity(Document, frozen=True, kw_only=True):
    """A pipeline: which definition in which repository, run at which refs, started by what.

    A ``workflow`` without ``@`` is taken at the same ref that is built; one with ``@`` is taken at exactly that.
    """

    issuer: Issuer
    repository_id: RepositoryId
    workflow: Workflow
    refs: Annotated[tuple[RefPattern, ...], Meta(min_length=1, max_length=20)]
    triggers: Annotated[tuple[Trigger, ...], Meta(min_length=1, max_length=20)]
    runner: Runner | None = None

    @property
    def who(self) -> tuple[str, ...]:
        """What no two principals may share."""
        return (self.issuer, self.repository_id, self.workflow.file)

    @property
    def id(self) -> str:
        """Who is meant, in words."""
        return f"{self.workflow} of repository {self.repository_id}"

    def differences(self, claims: Claims) -> tuple[str, ...]:
        """In what ``claims`` are not this identity's, in words; empty when they are."""
        return tuple(self._differences(claims))

    def _differences(self, claims: Claims) -> Iterator[str]:
        workflow = self.workflow if "@" in self.workflow else f"{self.workflow}@{claims.ref}"
        if claims.issuer != self.issuer:
            yield _difference("issuer", claims.issuer, self.issuer)
        if claims.repository_id != self.repository_id:
            yield _difference("repository id", claims.repository_id, self.repository_id)
        if claims.subject_kind != "uri" or claims.subject != workflow:
            yield _difference("workflow", claims.subject, workflow)
        if not any(ref.admits(claims.ref) for ref in self.refs):
            yield _difference("ref", claims.ref, ", ".join(self.refs))
        if claims.trigger not in self.triggers:
            yield _difference("trigger", claims.trigger, ", ".join(self.triggers))
        if self.runner is not None and claims.runner != self.runner:
            yield _difference("runner", claims.runner, self.runner)


class PersonIdentity(Document, frozen=True, kw_only=True):
    """A person, or a service account: an e-mail address, vouched for by one issuer."""

    issuer: Issuer
    email: Email

    @property
    def who(self) -> tuple[str, ...]:
        """What no two principals may share."""
        return (self.issuer, self.email)

    @property
    def id(self) -> str:
        """Who is meant, in words."""
        return f"{self.email} at {self.issuer}"

    def differences(self, claims: Claims) -> tuple[str, ...]:
        """In what ``claims`` are not this identity's, in words; empty when they are."""
        return tuple(self._differences(claims))

    def _differences(self, claims: Claims) -> Iterator[str]:
        if claims.issuer != self.issuer:
            yield _difference("issuer", claims.issuer, self.issuer)
        if claims.subject_kind != "email" or claims.subject != self.email:
            yield _difference("e-mail", claims.subject, self.email)


Identity = WorkflowIdentity | PersonIdentity


class Stated(Protocol):
    """Anything that a certificate's claims can be held against."""

    @property
    def id(self) -> str:
        """Who is meant, in words."""

    def differences(self, claims: Claims) -> tuple[str, ...]:
        """In what ``claims`` are somebody else's, in words; empty when they are not."""

    def __hash__(self) -> int:
        """It is a value."""


class IdentityFile(Document, frozen=True, kw_only=True):
    """A file that names one identity, for commands: exactly one of both tables."""

    workflow: WorkflowIdentity | None = None
    person: PersonIdentity | None = None
    note: Line = ""

    def __post_init__(self) -> None:
        if (self.workflow is None) == (self.person is None):
            raise ValueError("expected one of 'workflow' and 'person'")

    @property
    def identity(self) -> Identity:
        """The one that is named."""
        found = self.workflow or self.person
        assert found is not None  # noqa: S101 - held by the constructor
        return found


def _difference(title: str, found: str, expected: str) -> str:
    return f"{title} {found[:300]!a}, not {expected}" if found else f"no {title}, not {expected}"
