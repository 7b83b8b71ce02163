"""The audit log as security information systems read it: OCSF or CloudEvents, one event an entry. Pure.

The mapping is that of ``docs/spec/siem.md``; each event carries the entry's number and hash, so that whoever doubts it
finds the entry, and verifies that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final, Literal, get_args

from crl_server.records.audit import Action, parse_entry
from crl_server.webhooks.events import event_of
from verifier.formats.revocations import sha256_hex
from verifier.formats.strict_json import dumps

Form = Literal["entries", "ocsf", "cloudevents"]
FORMS: tuple[Form, ...] = get_args(Form)
"""The exact entries, which can be verified, and the two forms that are read elsewhere."""

VERSION: Final = "1.4.0"
"""The version of OCSF that events are in: the first in which this class has an actor without a profile."""
CATEGORY: Final = 3
"""Identity & Access Management."""
CLASS: Final = 3004
"""Entity Management."""
_CREATE, _UPDATE, _DELETE, _OTHER = 1, 3, 4, 99
_NAMES: Final = {_CREATE: "Create", _UPDATE: "Update", _DELETE: "Delete", _OTHER: "Other"}

ACTIVITIES: Final[Mapping[Action, int]] = {
    "deployment.create": _CREATE,
    "artifact.admit": _CREATE,
    "token.create": _CREATE,
    "rule.add": _CREATE,
    "reinstatement.request": _CREATE,
    "session.begin": _CREATE,
    "list.publish": _UPDATE,
    "policy.sign": _UPDATE,
    "reinstatement.approve": _UPDATE,
    "checkpoint.publish": _UPDATE,
    "trust.rotate": _UPDATE,
    "trust.resign": _UPDATE,
    "token.revoke": _DELETE,
    "host.forget": _DELETE,
    "session.end": _DELETE,
}
"""What an action does to what it is about; any other is something of its own, and named."""

_INFORMATIONAL, _LOW, _MEDIUM, _HIGH, _CRITICAL = 1, 2, 3, 4, 5
_STATED: Final = {"low": _LOW, "medium": _MEDIUM, "high": _HIGH, "critical": _CRITICAL}
SEVERITIES: Final[Mapping[Action, int]] = {
    "artifact.revoke": _MEDIUM,
    "rule.add": _MEDIUM,
    "list.sweep": _MEDIUM,
    "access.denied": _LOW,
    "reinstatement.approve": _MEDIUM,
    "checkpoint.publish": _MEDIUM,
    "policy.sign": _MEDIUM,
    "trust.rotate": _MEDIUM,
    "list.recover": _HIGH,
    "deployment.restore": _HIGH,
}
"""How severe an entry is where it does not say so itself; any other informs."""


def ocsf(line: bytes, source: str) -> bytes:
    """An entry as an event of OCSF's class Entity Management.

    Raises:
        FormatError: any ``format.*`` code.
    """
    entry = parse_entry(line)
    activity = ACTIVITIES.get(entry.action, _OTHER)
    severity = _STATED.get(str(entry.detail.get("severity")), SEVERITIES.get(entry.action, _INFORMATIONAL))
    denied = entry.action == "access.denied"
    event: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": entry.action if activity == _OTHER else _NAMES[activity],
        "category_uid": CATEGORY,
        "category_name": "Identity & Access Management",
        "class_uid": CLASS,
        "class_name": "Entity Management",
        "type_uid": CLASS * 100 + activity,
        "time": int(entry.time.instant.timestamp() * 1000),
        "severity_id": severity,
        "status_id": 2 if denied else 1,
        "status": "Failure" if denied else "Success",
        "actor": {"user": {"name": entry.actor, "uid": entry.actor}},
        "entity": {"name": entry.subject or entry.action, "type": entry.action.partition(".")[0], "data": entry.detail},
        "metadata": {
            "version": VERSION,
            "uid": sha256_hex(line),
            "event_code": entry.action,
            "sequence": entry.index,
            "log_name": "audit",
            "log_provider": source,
            "product": {"name": "Loadlock", "vendor_name": "Loadlock", "version": version("loadlock")},
        },
    }
    if "note" in entry.detail:
        event["comment"] = entry.detail["note"]
    return dumps(event)


def cloudevent(line: bytes, source: str) -> bytes:
    """An entry as a CloudEvent 1.0 in structured JSON.

    Raises:
        FormatError: any ``format.*`` code.
    """
    return event_of(line, source).body


WRITERS: Mapping[Form, Callable[[bytes, str], bytes]] = {
    "entries": lambda line, _: line,
    "ocsf": ocsf,
    "cloudevents": cloudevent,
}
"""How an entry is written in each form."""
