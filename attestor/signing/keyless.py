"""Signs without a key: a token of the pipeline or the person in, bundles of a Sigstore out.

The library has no deadlines for the certificate authority and the log, and takes a timestamp authority that does not
answer for none: every exchange runs under a deadline of ours here, and each bundle is verified before it is handed on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from verifier.deadline import within
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.formats.bundle import Bundle, parse_bundle
from verifier.formats.identity import Claims
from verifier.formats.statement import MAX_STATEMENT
from verifier.formats.strict_json import loads
from verifier.signatures.identities import KeylessSignatory

if TYPE_CHECKING:
    from sigstore.sign import Signer

AUDIENCE = "sigstore"
"""Whom tokens are for."""
MAX_TOKEN = 64 * 1024
"""Size cap of a token in bytes."""
MAX_CONFIG = 1024 * 1024
"""Size cap of a client trust configuration in bytes."""
MARGIN = timedelta(seconds=30)
"""How long before its end a token is no longer used."""
GITHUB, GITLAB = "https://github.com/", "https://"
"""What certificates put before these hosts' own names of workflows."""

Answer = TypeVar("Answer")
Source = Callable[[], str]
"""Fetches a token."""


class OwnIdentity(NamedTuple):
    """Who a token says that one is: what the certificate has to state.

    Attributes:
        subject: its subject alternative name.
        issuer: its issuer.
        claims: all that it will state, as far as the token tells.
    """

    subject: str
    issuer: str
    claims: Claims

    @property
    def id(self) -> str:
        """Who, in words."""
        return f"{self.subject} at {self.issuer}"

    def differences(self, claims: Claims) -> tuple[str, ...]:
        """In what a certificate's claims are not this identity's, in words."""
        compared = (("subject", claims.subject, self.subject), ("issuer", claims.issuer, self.issuer))
        return tuple(
            f"{title} {found[:300]!a}, not {expected}" for title, found, expected in compared if found != expected
        )


class Services(NamedTuple):
    """A Sigstore, as signers need it.

    Attributes:
        config: the client trust configuration, as JSON.
        root: the trusted root in it, as JSON.
        timestamps: whether it has timestamp authorities; then every bundle carries a timestamp.
    """

    config: bytes
    root: bytes
    timestamps: bool

    @classmethod
    def read(cls, config: bytes) -> Services:
        """Read a client trust configuration.

        Raises:
            FormatError: any ``format.*`` code.
            UsageError: ``usage.configuration``: it has no trusted root or no services.
        """
        document = loads(config, limit=MAX_CONFIG, what="client trust configuration")
        try:
            root = json.dumps(document["trustedRoot"]).encode()
            return cls(config, root, bool(document["signingConfig"].get("tsaUrls")))
        except (KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                "usage.configuration", "this is no client trust configuration", found=f"no {error}",
                expected="Sigstore's 'clienttrustconfig', with a trusted root and the services' addresses",
            ) from error  # fmt: skip

    @classmethod
    def public(cls, deadline: timedelta) -> Services:
        """The public Sigstore, its trusted root fetched and verified anew.

        Raises:
            Unreachable: ``unreachable.signer``.
            UsageError: ``usage.extra``.
        """

        def fetch() -> bytes:
            from sigstore.models import ClientTrustConfig

            return ClientTrustConfig.production()._inner.to_json().encode()

        return cls.read(_asked("the public Sigstore's trust repository", deadline, fetch))


class KeylessSigner:
    """Signs as whoever a token says.

    Args:
        services: the Sigstore.
        source: fetches a token; asked again when the last one is about to end.
        deadline: how long one exchange with a service may take.
        subject: what certificates will name, where that does not follow from the token; empty where it does.

    Raises:
        UsageError: ``usage.identity``: the token is malformed or has expired.
        Unreachable: ``unreachable.signer``: nobody handed out a token.
    """

    def __init__(self, services: Services, source: Source, deadline: timedelta, subject: str = "") -> None:
        self._services = services
        self._source = source
        self._deadline = deadline
        self._subject = subject
        self._signer: Signer | None = None
        self._take_token()

    @property
    def signatory(self) -> KeylessSignatory:
        """Who signs, as whoever verifies sees it."""
        return KeylessSignatory(self._own, self._services.root, timestamp=self._services.timestamps)

    def sign(self, payload: bytes) -> Bundle:
        """A bundle around the in-toto statement with exactly these bytes, verified.

        Raises:
            UsageError: ``format.too-large``; ``usage.identity``: the authority does not take the token.
            Unreachable: ``unreachable.signer``: a service did not answer as it should, or in time.
            Refused: ``signature.*``: what came back does not verify, or is for somebody else.
        """
        if len(payload) > MAX_STATEMENT:
            raise UsageError(
                "format.too-large", "the statement is too large", expected=f"at most {MAX_STATEMENT} bytes"
            )
        if datetime.now(UTC) >= self._ends - MARGIN:
            self._signer = None
            self._take_token()
        bundle = parse_bundle(_asked("a service of the Sigstore", self._deadline, lambda: self._ask(payload)))
        if self._services.timestamps and (bundle.material is None or not bundle.material.timestamps):
            raise Unreachable(
                "unreachable.signer", "no timestamp authority answered, and without its word nothing is signed"
            )
        if self.signatory.open(bundle).payload != payload:
            raise Refused("signature.invalid", "what was signed is not what was to be signed")
        return bundle

    def _ask(self, payload: bytes) -> bytes:
        from sigstore.dsse import Statement

        if self._signer is None:
            self._signer = _certified(self._services.config, self._token)
        return self._signer.sign_dsse(Statement(payload)).to_json().encode()

    def _take_token(self) -> None:
        self._token = self._source()
        claims = claims_of(self._token)
        self._ends = _end_of(claims)
        if datetime.now(UTC) >= self._ends:
            raise UsageError(
                "usage.identity", "the identity token has expired",
                found=f"valid until {self._ends:%Y-%m-%dT%H:%M:%SZ}",
                todo="Fetch a new one right before signing: such tokens last for minutes.",
            )  # fmt: skip
        self._own = own_identity(claims, self._subject)


def ambient_token(deadline: timedelta) -> str:
    """The token that this pipeline is given by its host.

    Raises:
        UsageError: ``usage.identity``: this is no pipeline with an identity, or its host will not give one.
        Unreachable: ``unreachable.issuer``.
    """

    def detect() -> str | None:
        from id import AmbientCredentialError, detect_credential

        try:
            return detect_credential(AUDIENCE)
        except AmbientCredentialError as error:
            raise UsageError(
                "usage.identity", "this pipeline is not given an identity token", found=_words(error),
                todo="Let the job ask for one (on GitHub: 'permissions: id-token: write').",
            ) from error  # fmt: skip

    token = _asked("the issuer of this pipeline's tokens", deadline, detect, "unreachable.issuer")
    if token is None:
        raise UsageError(
            "usage.identity", "nobody here vouches for an identity",
            expected="a pipeline with one, or a token in a file",
            todo="Name the file with --identity-token, or sign with a key.",
        )  # fmt: skip
    return token


def claims_of(token: str) -> dict[str, Any]:
    """What a token states; nothing of it is verified: that is the authority's business.

    Raises:
        UsageError: ``usage.identity``.
    """
    try:
        _, body, _ = token.split(".")
        claims = loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), limit=MAX_TOKEN, what="identity token")
        if not isinstance(claims, dict):
            raise TypeError("not an object")
    except (ValueError, TypeError, LoadlockError) as error:
        raise UsageError(
            "usage.identity", "the identity token cannot be read", found=type(error).__name__,
            expected="a JSON Web Token of an OpenID Connect issuer",
        ) from None  # fmt: skip
    return claims


def subject_of(claims: dict[str, Any]) -> str:
    """The name that a certificate gives the bearer of a token (fulcio, docs/oidc.md)."""
    for claim, prefix in (("job_workflow_ref", GITHUB), ("ci_config_ref_uri", GITLAB), ("email", ""), ("sub", "")):
        if isinstance(claims.get(claim), str):
            return f"{prefix}{claims[claim]}"
    raise UsageError("usage.identity", "the identity token names nobody", expected="a claim 'sub'")


def own_identity(claims: dict[str, Any], subject: str = "") -> OwnIdentity:
    """Who a token says that one is; ``subject`` is what certificates will name instead of what follows from it."""

    def stated(*names: str) -> str:
        return next((str(claims[name]) for name in names if name in claims), "")

    subject, issuer = subject or subject_of(claims), stated("iss")
    person = "email" in claims and subject == claims["email"]
    expected = Claims(
        subject=subject, subject_kind="email" if person else "uri", issuer=issuer,
        repository_id=stated("repository_id", "project_id"), ref=stated("ref_path", "ref"),
        trigger=stated("event_name", "pipeline_source"), runner=stated("runner_environment"),
    )  # fmt: skip
    return OwnIdentity(subject, issuer, expected)


def _end_of(claims: dict[str, Any]) -> datetime:
    end = claims.get("exp")
    if not isinstance(end, int) or not 0 < end < 2**33:
        raise UsageError("usage.identity", "the identity token does not say until when it is valid")
    return datetime.fromtimestamp(end, UTC)


def _certified(config: bytes, token: str) -> Signer:
    """The library's signer, with a certificate for this token."""
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityError, IdentityToken
    from sigstore.sign import SigningContext

    try:
        identity = IdentityToken(token)
    except IdentityError as error:
        raise UsageError("usage.identity", "the identity token is not usable", found=_words(error)) from error
    with SigningContext.from_trust_config(ClientTrustConfig.from_json(config.decode())).signer(identity) as signer:
        return signer


def _asked(who: str, deadline: timedelta, work: Callable[[], Answer], code: str = "unreachable.signer") -> Answer:
    """What ``work`` brings within the deadline; whatever else happens becomes an error of ours."""

    def late() -> LoadlockError:
        seconds = f"{deadline.total_seconds():g} seconds"
        return Unreachable(code, f"{who} did not answer in time", found=f"nothing within {seconds}")

    try:
        return within(deadline, work, late)
    except LoadlockError:
        raise
    except ModuleNotFoundError as error:
        raise UsageError(
            "usage.extra", "the part of Loadlock that signs keyless is not installed", found=f"no {error.name}",
            expected="loadlock[keyless]",
        ) from error  # fmt: skip
    except Exception as error:  # the library's own errors, its libraries', and those of answers that nobody foresaw
        raise _translated(who, code, error) from error


def _translated(who: str, code: str, error: Exception) -> LoadlockError:
    """What went wrong, in our terms: a token is not taken, a service fails, or an answer does not verify."""
    response = next((found for found in _causes(error) if getattr(found, "response", None) is not None), None)
    status = getattr(getattr(response, "response", None), "status_code", 0)
    if type(error).__name__ in ("ExpiredIdentity", "ExpiredCertificate"):
        return UsageError("usage.identity", "the identity token has expired", todo="Fetch a new one, and sign again.")
    if type(error).__name__ == "FulcioClientError" and 400 <= status < 500:
        return UsageError(
            "usage.identity", "the certificate authority does not take the identity token", found=f"status {status}",
            todo="Check that the token is for 'sigstore' and by an issuer that this Sigstore knows.",
        )  # fmt: skip
    if type(error).__name__ in ("VerificationError", "CertValidationError"):
        return Refused("signature.certificate", f"what {who} answered does not verify", found=_words(error))
    return Unreachable(
        code, f"{who} did not answer as it should", found=f"status {status}" if status else _words(error)
    )


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(found) < 10:
        found += [current, *(part for part in current.args if isinstance(part, BaseException))]
        current = current.__cause__ or current.__context__
    return found


def _words(error: Exception) -> str:
    """The kind of an error alone: what it says may repeat an address with a token in it, or the token."""
    return type(error).__name__
