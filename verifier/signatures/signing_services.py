"""Keys that lie in a token or a key management service: signing through securesystemslib, whose URIs name them.

A service is asked to sign, never believed: each signature is verified with the public key that was named beside the
URI. A URI has one form for each scheme and no room for a secret, and is never shown, since what somebody put there by
mistake may be one. Whoever signs imports this; verification does not.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from verifier.deadline import within
from verifier.errors import LoadlockError, Refused, Unreachable, UsageError
from verifier.formats.strict_json import quoted
from verifier.signatures.key_secrets import PIN, asked
from verifier.signatures.keys import Algorithm, PublicKey
from verifier.value import Value

if TYPE_CHECKING:
    from securesystemslib.signer import Signer, SSlibKey

DEADLINE = timedelta(seconds=60)
"""How long one answer of a service may take; a person may have to touch a token."""

Result = TypeVar("Result")


class Service(Value, frozen=True):
    """A kind of place where keys lie.

    Args:
        title: its name, for people.
        form: the URI's form, for people.
        pattern: the URI's form.
        algorithms: what its keys may be, of what Loadlock verifies.
        needs: what has to be right for it to answer.
    """

    title: str
    form: str
    pattern: str
    algorithms: tuple[Algorithm, ...]
    needs: str


SERVICES: Mapping[str, Service] = {
    "hsm": Service(
        "a PKCS#11 token", "hsm:[KEYID][?label=TOKEN]", r"hsm:[0-9]{0,18}(\?label=[^&;#\s]{1,100})?", ("ecdsa-p256",),
        f"the module in PYKCS11LIB, the token's label, the key id, and the PIN in {PIN}",
    ),
    "awskms": Service(
        "AWS KMS", "awskms:KEY", r"awskms:[A-Za-z0-9:/_-]{1,2048}", ("ecdsa-p256",),
        "the credentials and the region that boto3 finds, and the permission kms:Sign",
    ),
    "gcpkms": Service(
        "Google Cloud KMS", "gcpkms:projects/…/cryptoKeyVersions/N",
        r"gcpkms:projects/[\w.:-]+/locations/[\w-]+/keyRings/[\w-]+/cryptoKeys/[\w-]+/cryptoKeyVersions/[0-9]+",
        ("ecdsa-p256",), "the application's default credentials, and the role cloudkms.signer",
    ),
    "azurekms": Service(
        "Azure Key Vault", "azurekms://VAULT.vault.azure.net/keys/NAME/VERSION",
        r"azurekms://[A-Za-z0-9-]+\.vault\.azure\.net/keys/[A-Za-z0-9-]+/[A-Za-z0-9]+", ("ecdsa-p256",),
        "the credentials that azure-identity finds, and the role Key Vault Crypto User",
    ),
    "hv": Service(
        "Vault's transit engine", "hv:NAME/VERSION", r"hv:[A-Za-z0-9_.-]+/[0-9]{1,9}", ("ed25519",),
        "VAULT_ADDR, VAULT_TOKEN, and the key's name and version",
    ),
}  # fmt: skip
"""URI schemes of securesystemslib that can sign what Loadlock verifies; its extras have the names of the keys, but for
``vault``."""

UNUSABLE: Mapping[str, str] = {
    "gnupg": "an OpenPGP signature is over more than the message, so nobody could verify it with the key alone",
    "tkey": "its keys are ML-DSA, which the policy has no name for",
}
"""Schemes of securesystemslib that cannot be used, and why."""


class ServiceKey:
    """A private key that lies elsewhere, and signs there.

    Args:
        uri: where it is, as securesystemslib names it.
        public: its public half, got on a way that is trusted.
        deadline: how long one signature may take.

    Raises:
        UsageError: ``usage.key``: the URI is malformed, of a scheme that cannot be used, or of one whose keys are of
            another kind; or the PIN is not known.
    """

    def __init__(self, uri: str, public: PublicKey, deadline: timedelta = DEADLINE) -> None:
        self._asked = _Asked(uri, deadline)
        self.public = public
        if public.alg not in self._asked.service.algorithms:
            raise UsageError(
                "usage.key", f"{self._asked.service.title} cannot sign with such a key through securesystemslib",
                found=public.alg, expected=" or ".join(self._asked.service.algorithms),
            )  # fmt: skip
        # The PIN is asked for here: a person may take longer than a deadline allows.
        self._pin = asked(PIN, "the PIN of the token") if self._asked.scheme == "hsm" else ""
        self._signer: Signer | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._asked.scheme}, {self.public.id})"

    def sign(self, message: bytes) -> bytes:
        """Have ``message`` signed, and verify what comes back.

        Raises:
            Refused: ``signer.wrong-key``.
            UsageError: ``usage.extra``, ``signer.failed``.
            Unreachable: ``unreachable.signer``.
        """
        signature = self._asked.answer(lambda: self._sign(message), secret=self._pin)
        try:
            self.public.verify(signature, message)
        except Refused:
            raise Refused(
                "signer.wrong-key", f"what {self._asked.service.title} signed does not verify",
                expected=f"a signature by {self.public.id}",
            ) from None  # fmt: skip
        return signature

    def _sign(self, message: bytes) -> bytes:
        from securesystemslib.signer import Signer, SSlibKey

        if self._signer is None:
            key = SSlibKey.from_crypto(serialization.load_der_public_key(self.public.spki))
            self._signer = Signer.from_priv_key_uri(self._asked.uri, key, lambda _: self._pin)
        return bytes.fromhex(self._signer.sign(message).signature)


def fetch_public_key(uri: str, deadline: timedelta = DEADLINE) -> PublicKey:
    """Ask a service for the public half of a key, once; it is kept, and named beside the URI from then on.

    Args:
        uri: where the key is, as securesystemslib names it.
        deadline: how long the answer may take.

    Raises:
        UsageError: ``usage.key``, ``usage.extra``, ``signer.failed``.
        Refused: ``usage.key``: the key is of a kind that Loadlock does not verify.
        Unreachable: ``unreachable.signer``.
    """
    service = _Asked(uri, deadline)
    pin = asked(PIN, "the PIN of the token") if service.scheme == "hsm" else ""
    named, key = service.answer(lambda: _import(service.scheme, uri, pin), secret=pin)
    if service.scheme in ("hv", "azurekms") and named != uri:
        raise UsageError(
            "usage.key", f"{service.service.title} gives the public half of its newest version only",
            expected="the URI of the newest version",
        )  # fmt: skip
    public = key.keyval["public"]
    if key.keytype == "ed25519":
        return PublicKey(ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    return PublicKey.from_pem(public.encode())


def _import(scheme: str, uri: str, pin: str) -> tuple[str, SSlibKey]:
    """The key as the signer of a scheme fetches it: each takes the parts of the URI in its own way."""
    from securesystemslib import signer

    parts = urlsplit(uri)
    if scheme == "hsm":
        label = parse_qs(parts.query).get("label", [None])[0]
        return signer.HSMSigner.import_(int(parts.path or signer.HSMSigner.SCHEME_KEYID), label, lambda _: pin)
    if scheme == "awskms":
        return signer.AWSSigner.import_(parts.path, signer.ECDSA_SHA2_NISTP256)
    if scheme == "gcpkms":
        return signer.GCPSigner.import_(parts.path)
    if scheme == "azurekms":
        return signer.AzureSigner.import_(parts.netloc.partition(".")[0], parts.path.split("/")[2])
    return signer.VaultSigner.import_(parts.path.partition("/")[0])


class _Asked:
    """One key's place: its URI, checked, and how its answers are waited for."""

    def __init__(self, uri: str, deadline: timedelta) -> None:
        self.uri = uri
        self.scheme = uri.partition(":")[0]
        self.service = _service(uri, self.scheme)
        self._deadline = deadline

    def answer(self, work: Callable[[], Result], secret: str) -> Result:
        """What ``work`` gives back, in time; all its errors become ours, in which ``secret`` does not stand."""
        # Without a handler, the logging of the libraries would write to standard error beside our own words.
        logging.getLogger("securesystemslib").addHandler(logging.NullHandler())
        try:
            return within(self._deadline, work, self._late)
        except LoadlockError:
            raise
        except Exception as error:
            raise self._failure(error, secret) from None

    def _late(self) -> Unreachable:
        seconds = f"{self._deadline.total_seconds():g} s"
        return Unreachable(
            "unreachable.signer", f"{self.service.title} did not answer", expected=f"an answer within {seconds}",
            todo=f"Check {self.service.needs}; then try again. Nothing was signed.",
        )  # fmt: skip

    def _failure(self, error: Exception, secret: str) -> LoadlockError:
        if type(error).__name__ == "UnsupportedLibraryError":
            extra = {"hv": "vault"}.get(self.scheme, self.scheme)
            return UsageError(
                "usage.extra", f"signing with {self.service.title} needs a library that is not installed",
                expected=f"securesystemslib[{extra}]", todo=f"Run: pip install 'securesystemslib[{extra}]'",
            )  # fmt: skip
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
        found = quoted(text.replace(secret, "…") if secret else text)
        todo = f"Check {self.service.needs}."
        if _is_about_the_way(error):
            return Unreachable("unreachable.signer", f"{self.service.title} cannot be reached", found=found, todo=todo)
        return UsageError("signer.failed", f"{self.service.title} did not sign", found=found, todo=todo)


def _is_about_the_way(error: Exception) -> bool:
    """Whether a library's error says that nobody answered, by the names that libraries give to that."""
    names = " ".join(kind.__name__ for kind in type(error).__mro__)
    return re.search("Connect|Timeout|Unavailable|EndOfStream", names) is not None


def _service(uri: str, scheme: str) -> Service:
    if scheme in UNUSABLE:
        raise UsageError(
            "usage.key", f"keys of the scheme {scheme!r} cannot sign for Loadlock", found=UNUSABLE[scheme],
            expected=", ".join(SERVICES),
        )  # fmt: skip
    service = SERVICES.get(scheme)
    if service is None:
        raise UsageError(
            "usage.key", "the key is a URI of an unknown scheme", expected=f"file2 or {', '.join(SERVICES)}",
            todo="Name a key file, or one of these; a file with a colon in its name as ./NAME.",
        )  # fmt: skip
    if re.fullmatch(service.pattern, uri, re.ASCII) is None:
        raise UsageError(
            "usage.key", f"the key's URI is not one of {service.title}", expected=service.form,
            todo="Correct it. If it holds a secret, take that for known to others: command lines can be read.",
        )  # fmt: skip
    return service


def is_uri(name: str) -> bool:
    """Whether ``name`` is the URI of a key rather than the path of a file."""
    return re.match(r"[a-z][a-z0-9+.-]+:", name) is not None


def check_uri(uri: str) -> None:
    """That a URI names a key as one of the services does; raises ``usage.key``."""
    _service(uri, uri.partition(":")[0])
