"""What somebody wants revoked, out of a form: artifacts by digest, or a standing rule."""

from __future__ import annotations

from typing import Any, NamedTuple

from crl_server.console.forms import Form
from crl_server.lists.rules import SEVERITIES, Severity
from crl_server.revocation.revoking import Order
from crl_server.revocation.standing import NewRule
from verifier.errors import UsageError
from verifier.formats.text import Digest

Wanted = Order | NewRule
FIELDS = (
    "kind", "digests", "plugin", "plugin_range", "purl", "purl_range", "principal", "key", "builder", "repository",
    "commit", "statement", "excepted", "reason", "severity", "note",
)  # fmt: skip
"""The fields of the form; the page before the last carries them along."""


class Kind(NamedTuple):
    """A way to say what is to be revoked: its name, and how it is called."""

    name: str
    title: str
    hint: str


KINDS = (
    Kind("artifacts", "Artifacts", "wheels by their sha256, also such as nobody has published yet"),
    Kind("plugin", "Versions of a plugin", "all of them, or a range"),
    Kind("component", "A component", "everything whose SBOM or lock lists that package"),
    Kind("signer", "A signer", "everything that rests on a statement by that principal, or by that key"),
    Kind("builder", "A builder", "everything that came from there"),
    Kind("source", "A source", "everything built from that repository, or from one commit of it"),
    Kind("statement", "A statement", "everything that rests on that one signed statement"),
)


def wanted_in(form: Form) -> Wanted:
    """What a form asks for.

    Raises:
        UsageError: ``usage.arguments``.
    """
    kind, reason, note = form.text("kind"), form.text("reason"), form.text("note")
    severity = _severity(form.text("severity"))
    if kind == "artifacts":
        return Order(_digests(form.text("digests"), "digests"), reason, note, severity)
    match = _match(kind, form)
    return NewRule(kind, match, reason, note, _digests(form.text("excepted"), "exceptions"), severity)


def _severity(text: str) -> Severity | None:
    if text in ("", *SEVERITIES):
        return next((known for known in SEVERITIES if known == text), None)
    raise UsageError("usage.arguments", "unknown severity", found=f"{text!a:.80}", expected=", ".join(SEVERITIES))


def _match(kind: str, form: Form) -> dict[str, Any]:
    given = {
        "plugin": {"id": form.text("plugin"), "range": form.text("plugin_range")},
        "component": {"purl": form.text("purl"), "range": form.text("purl_range")},
        "signer": {"principal": form.text("principal"), "key": form.text("key")},
        "builder": {"id": form.text("builder")},
        "source": {"repository": form.text("repository"), "commit": form.text("commit")},
        "statement": {"digest": form.text("statement")},
    }.get(kind)
    if given is None:
        raise UsageError("usage.arguments", "what is to be revoked was not chosen", found=f"{kind!a:.80}")
    return {name: value for name, value in given.items() if value}


def _digests(text: str, what: str) -> tuple[Digest, ...]:
    """Digests out of a field, each once, apart by blanks, commas or line ends."""
    words = dict.fromkeys(text.replace(",", " ").split())
    try:
        return tuple(Digest(word if word.startswith("sha256:") else f"sha256:{word}") for word in words)
    except ValueError as error:
        raise UsageError("usage.arguments", f"the {what} are not all digests", found=str(error)[:200]) from None
