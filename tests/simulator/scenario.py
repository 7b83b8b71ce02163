"""The closed vocabulary in which test vectors say how a scenario differs from the honest one.

A vector holds a list of edits, applied in order; each is a table whose first key is one of the verbs below:

    about the wheel (these make the honest statements anew, so they come first)
      {wheel = {name, version, requires}}         another wheel
      {file = PATH, text = T}                     a further file; ``zeros = N`` for ``text``: N zero bytes;
                                                  ``embed = {field: value}``: the honest declaration, changed
      {unrecorded = PATH, text = T}               a further file that RECORD does not know
      {prepend = T}                               bytes before the archive
    about the statements (``pin`` lets those that pin others follow)
      {set = "manifest.owner", to = V}            a place of a predicate; ``terms`` are those of a certification
      {unset = PLACE}
      {claim = "manifest.payload_type", to = V}   an attribute of the statement: see :class:`tests.simulator.Claim`
      {sign = TITLE, by = PERSON}                 somebody else signs
      {hint = TITLE, of = PERSON}                 the bundle claims to be somebody else's
      {drop = TITLE}  {copy = TITLE, by = PERSON}
      {rebuild = PERSON}                          who rebuilt the wheel to the same bytes; their name is the title
      {swap = TITLE}                              the other plugin's honest statement instead
      {pin = true}
      {findings = "added" | "demanded"}           an honest audit and checklist, certified; and tier core demands both
      {vulnerable = RATING}  {check = NAME, to = {field: value}}  the audit knows of parser 2.0; a check ended so
      {raw = TITLE, replace = T, with = T}        text inside a predicate, before it is signed
      {freeze = TITLE}                            the signature stays what it is now, whatever is edited later
    about the bytes, once all is signed
      {set_file = "missing" | "other" | "empty"}  no attestation set; that of the other plugin; an empty file
      {set_replace = T, with = T}  {set_append = T}  {set_cut = N}  {set_repeat = N}
      {flip = "wheel" | "set", at = N}            one bit of one byte; a negative position counts from the end
      {oversize = true}                           a wheel of one byte more than the cap
      {file_name = T}                             the wheel is verified under another name
    about locked dependencies
      {lock = {name, version, requires}}          a wheel, locked and listed, and in the host's wheelhouse;
                                                  ``prepend = T``: bytes before its archive
      {house = NAME, holds = "nothing" | "other" | "both"}
                                                  what lies there: not this wheel, another in its place, or both
      {house = "missing"}                         the host has no wheelhouse
    about the deployment
      {policy = PLACE, to = V}                    published anew; null is written as ``unset = true``
      {revoke = DIGEST}  {head = {field: value}}  {head_by = PERSON, keyid = DIGEST}  {head_type = T}
      {checkpoint = {field: value}}  {base = [DIGEST]}  {rules = [RULE]}  {damage = "segments" | "bases" | "rules"}
      {next_head = {field: value}, revoked = [DIGEST]}
                                                  a head that the host applies over the one in force
      {metadata = FILE, replace = T, with = T}    a TUF file is edited without being signed
      {rotate = "root"}                           the deployment publishes a second root
      {root = "other"}                            the host has pinned another deployment's root
    about the host
      {clock = SECONDS}                           the clock is that far from the moment of signing
      {enrolled = NAME}  {floor = FIELD, to = N}  {seen = SECONDS}
      {request = FIELD, to = V}  {provides = {name: version}}  {host = "breaks"}

In every string ``$wheel`` is the wheel's digest and ``$other`` that of the other plugin's; ``$key:PERSON`` is the id of
a key (``$key:head`` that of the head key), ``$statement:TITLE`` the digest by which others pin a statement,
``$lock:NAME`` that of a locked wheel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from msgspec import structs

from loadlock.testing.documents import envelope
from loadlock.testing.people import Person
from loadlock.testing.repository import CHECKPOINT
from tests.simulator.claims import Claims
from tests.simulator.deployment import EVERYTHING, PluginWheel, Simulator, put
from tests.simulator.findings import with_check, with_vulnerability
from verifier.formats import dsse
from verifier.formats.findings import AUDIT_FIELD
from verifier.formats.manifest import Dependency
from verifier.formats.statement import CERTIFICATION_FIELD
from verifier.formats.strict_json import dumps
from verifier.formats.text import Name, Time
from verifier.judging.verify import VerifiedPlugin
from verifier.signatures.keys import PublicKey
from verifier.wheels.wheel import DEFAULT_LIMITS

Edit = Mapping[str, Any]
EXTENSIONS = {"terms": CERTIFICATION_FIELD, "account": AUDIT_FIELD}  # what Loadlock adds to others' predicates
_REFERENCE = re.compile(r"\$(?:wheel|other|lock:[a-z-]+|key:[a-z-]+|statement:[a-z]+)")


class Scenario:
    """One host that is about to verify one wheel, honest until it is edited."""

    def __init__(self) -> None:
        self.sim = Simulator()
        self.other = self.sim.wheel("other-plugin")
        self.now = self.sim.started
        self.request = structs.replace(EVERYTHING, provided={"attrs": "25.4.0"}.get)
        self.file_name: str | None = None
        self._last: list[Callable[[], None]] = []  # edits of signed bytes wait until all is signed
        self._files: dict[str, bytes] = {}
        self._unrecorded: dict[str, bytes] = {}
        self._project: dict[str, Any] = {}
        self.wheel: PluginWheel
        self.claims: Claims
        self.attestations: bytes | None = None
        self.house: dict[str, list[PluginWheel]] | None = None
        self._rebuild()

    def edit(self, edit: Edit) -> None:
        """Apply one edit.

        Raises:
            KeyError: the vector uses a word that is not in the vocabulary.
        """
        verb, *_ = edit
        VERBS[verb](self, {key: self._resolve(value) for key, value in edit.items()})

    def verify(self) -> VerifiedPlugin:
        """What the host makes of it."""
        self.attestations = self.claims.sign()
        for act in self._last:
            act()
        wheel = replace(self.wheel, file_name=self.file_name or self.wheel.file_name)
        request = structs.replace(self.request, offers=None if self.house is None else self._offers)
        return self.sim.verify(wheel, self.attestations, self.now, request)

    def _offers(self, dependency: Dependency) -> list[tuple[str, bytes]]:
        return [(wheel.file_name, wheel.data) for wheel in (self.house or {}).get(dependency.name, [])]

    # -- the wheel -----------------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        self.wheel = self.sim.wheel(**self._project, files=self._files, unrecorded=self._unrecorded)
        self.claims = self.sim.claims(self.wheel)

    def _wheel(self, edit: Edit) -> None:
        self._project = dict(edit["wheel"])
        self._rebuild()

    def _file(self, edit: Edit) -> None:
        if "embed" in edit:
            content = dumps({**self.sim.declaration(self.wheel), **edit["embed"]})
        else:
            content = edit["text"].encode() if "text" in edit else bytes(edit["zeros"])
        self._files[edit["file"]] = content
        self._rebuild()

    def _unrecord(self, edit: Edit) -> None:
        self._unrecorded[edit["unrecorded"]] = edit["text"].encode()
        self._rebuild()

    def _prepend(self, edit: Edit) -> None:
        self.wheel = replace(self.wheel, data=edit["prepend"].encode() + self.wheel.data)
        self.claims = self.sim.claims(self.wheel)

    # -- the statements ------------------------------------------------------------------------------------------------

    def _set(self, edit: Edit) -> None:
        title, _, place = str(edit.get("set") or edit["unset"]).partition(".")
        claim, keys = self.claims[title], place.split(".")
        document = claim.predicate
        if keys[0] in EXTENSIONS:
            document, keys = document[EXTENSIONS[keys[0]]], keys[1:]
        put(document, ".".join(keys), edit.get("to"))

    def _claim(self, edit: Edit) -> None:
        title, attribute = edit["claim"].split(".")
        assert hasattr(self.claims[title], attribute)
        setattr(self.claims[title], attribute, edit["to"])

    def _sign(self, edit: Edit) -> None:
        self.claims[edit["sign"]].signer = self.sim.people[edit["by"]]

    def _hint(self, edit: Edit) -> None:
        self.claims[edit["hint"]].hint = self.sim.people[edit["of"]].public.hint

    def _freeze(self, edit: Edit) -> None:
        claim = self.claims[edit["freeze"]]
        assert isinstance(claim.signer, Person)
        claim.signature = claim.signer.sign(dsse.pae(claim.payload_type, claim.payload))

    def _drop(self, edit: Edit) -> None:
        del self.claims[edit["drop"]]

    def _copy(self, edit: Edit) -> None:
        original = self.claims[edit["copy"]]
        signer = self.sim.people[edit.get("by", original.signer.name)]
        self.claims[edit["copy"] + " again"] = replace(original, signer=signer)

    def _rebuilt(self, edit: Edit) -> None:
        self.claims[edit["rebuild"]] = self.sim.rebuild(self.wheel, edit["rebuild"])

    def _swap(self, edit: Edit) -> None:
        self.claims[edit["swap"]] = self.sim.claims(self.other)[edit["swap"]]

    def _pin(self, _edit: Edit) -> None:
        self.claims.pin()

    def _findings(self, edit: Edit) -> None:
        self.sim.add_findings(self.claims, self.wheel)
        if edit["findings"] == "demanded":
            self.sim.demand_findings()

    def _vulnerable(self, edit: Edit) -> None:
        with_vulnerability(self.claims["audit"].predicate, edit["vulnerable"])
        self.claims.pin()

    def _check(self, edit: Edit) -> None:
        with_check(self.claims["checks"].predicate, edit["check"], edit["to"])
        self.claims.pin()

    def _raw(self, edit: Edit) -> None:
        claim = self.claims[edit["raw"]]
        text = claim.predicate_bytes.decode()
        assert edit["replace"] in text
        claim.predicate = text.replace(edit["replace"], edit["with"], 1).encode()

    # -- locked dependencies -------------------------------------------------------------------------------------------

    def _lock(self, edit: Edit) -> None:
        wheel = self.sim.wheel(**edit["lock"])
        wheel = replace(wheel, data=edit.get("prepend", "").encode() + wheel.data)
        self.sim.lock(self.claims, wheel)
        self.house = {**(self.house or {}), wheel.name: [wheel]}

    def _house(self, edit: Edit) -> None:
        if edit["house"] == "missing":
            self.house = None
            return
        assert self.house is not None
        (wheel,) = self.house[edit["house"]]
        other = self.sim.wheel(wheel.name, wheel.version, files={"evil.py": b""})
        self.house[edit["house"]] = {"nothing": [], "other": [other], "both": [other, wheel]}[edit["holds"]]

    # -- the bytes -----------------------------------------------------------------------------------------------------

    def _change_set(self, edit: Edit) -> None:
        def act() -> None:
            signed = self.attestations or b""
            if "set_file" in edit:
                other = self.sim.attest(self.other)
                self.attestations = {"missing": None, "empty": b"", "other": other}[edit["set_file"]]
            elif "set_replace" in edit:
                old, new = edit["set_replace"].encode(), edit["with"].encode()
                assert old in signed
                self.attestations = signed.replace(old, new, 1)
            elif "set_append" in edit:
                self.attestations = signed + edit["set_append"].encode()
            elif "set_cut" in edit:
                self.attestations = signed[: -edit["set_cut"]]
            else:
                self.attestations = signed * edit["set_repeat"]

        self._last.append(act)

    def _flip(self, edit: Edit) -> None:
        def act() -> None:
            of_wheel = edit["flip"] == "wheel"
            data = bytearray(self.wheel.data if of_wheel else self.attestations or b"")
            data[edit["at"]] ^= 1
            if of_wheel:
                self.wheel = replace(self.wheel, data=bytes(data))
            else:
                self.attestations = bytes(data)

        self._last.append(act)

    def _oversize(self, _edit: Edit) -> None:
        def act() -> None:
            self.wheel = replace(self.wheel, data=bytes(DEFAULT_LIMITS.archive + 1))

        self._last.append(act)

    def _file_name(self, edit: Edit) -> None:
        self.file_name = edit["file_name"]

    # -- the deployment ------------------------------------------------------------------------------------------------

    def _policy(self, edit: Edit) -> None:
        self.sim.policy(edit["policy"], edit.get("to"))

    def _revoke(self, edit: Edit) -> None:
        self.sim.revoke(edit["revoke"])

    def _head(self, edit: Edit) -> None:
        fields = dict(edit["head"])
        issued, life = fields.pop("issued_after", 0), fields.pop("life", None)
        if life is not None:
            fields["life"] = timedelta(seconds=life)
        self.sim.publish_head(self.sim.started + timedelta(seconds=issued), **fields)

    def _head_by(self, edit: Edit) -> None:
        payload = dsse.parse_envelope(self.sim.head).unverified_payload
        person = self.sim.people[edit["head_by"]]
        signature = person.sign(dsse.pae(dsse.HEAD, payload))
        self.sim.head = envelope(dsse.HEAD, payload, {edit.get("keyid", person.public.id): signature})

    def _head_type(self, edit: Edit) -> None:
        payload = dsse.parse_envelope(self.sim.head).unverified_payload
        self.sim.head = self.sim.lists.sign(payload, edit["head_type"])

    def _checkpoint(self, edit: Edit) -> None:
        document = json.loads(self.sim.repository.targets_files[CHECKPOINT]) | edit["checkpoint"]
        self.sim.repository.publish_checkpoint(self.sim.started, dumps(document))

    def _base(self, edit: Edit) -> None:
        hexadecimal = [digest.removeprefix("sha256:") for digest in edit["base"]]
        self.sim.repository.publish_checkpoint(self.sim.started, self.sim.lists.checkpoint(revoked=hexadecimal))

    def _rules(self, edit: Edit) -> None:
        document = dumps({"v": 1, "rules": edit["rules"]})
        reference = {"sha256": self.sim.lists.keep("rules", document), "count": len(edit["rules"])}
        self.sim.publish_head(rules=reference)

    def _damage(self, edit: Edit) -> None:
        for kind, name in self.sim.lists.files:
            if kind == edit["damage"]:
                self.sim.lists.files[kind, name] += b"\0" * 16

    def _next_head(self, edit: Edit) -> None:
        before, revoked = self.sim.head, self.sim.revoked
        self.sim.revoked = [*edit["revoked"]]
        self._head({"head": edit["next_head"]})
        self.sim.head, self.sim.next_head, self.sim.revoked = before, self.sim.head, revoked

    def _metadata(self, edit: Edit) -> None:
        text = self.sim.repository.metadata[edit["metadata"]].decode()
        assert edit["replace"] in text
        self.sim.repository.metadata[edit["metadata"]] = text.replace(edit["replace"], edit["with"], 1).encode()

    def _rotate(self, edit: Edit) -> None:
        assert edit["rotate"] == "root"
        self.sim.repository.rotate_root_key(self.sim.started)

    def _root(self, edit: Edit) -> None:
        assert edit["root"] == "other"
        self.sim.pinned = Simulator().pinned

    # -- the host ------------------------------------------------------------------------------------------------------

    def _clock(self, edit: Edit) -> None:
        self.now = self.sim.started + timedelta(seconds=edit["clock"])

    def _enrolled(self, edit: Edit) -> None:
        self.sim.enrolled = Name(edit["enrolled"])

    def _floor(self, edit: Edit) -> None:
        assert edit["floor"] in self.sim.floor.__struct_fields__
        fields = {name: getattr(self.sim.floor, name) for name in self.sim.floor.__struct_fields__}
        self.sim.floor = type(self.sim.floor)(**{**fields, edit["floor"]: edit["to"]})

    def _seen(self, edit: Edit) -> None:
        self.sim.time_floor = Time.of(self.sim.started + timedelta(seconds=edit["seen"]))

    def _request(self, edit: Edit) -> None:
        change: dict[str, Any] = {edit["request"]: edit["to"]}
        if edit["request"] == "isolations":
            change["isolations"] = frozenset(edit["to"])
        self.request = structs.replace(self.request, **change)

    def _provides(self, edit: Edit) -> None:
        self.request = structs.replace(self.request, provided=dict(edit["provides"]).get)

    def _host(self, edit: Edit) -> None:
        assert edit["host"] == "breaks"

        def breaks(name: str) -> str | None:
            raise OSError(f"cannot look up {name}")

        self.request = structs.replace(self.request, provided=breaks)

    # -- references ----------------------------------------------------------------------------------------------------

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, str):
            return _REFERENCE.sub(self._referred, value)
        if isinstance(value, dict):
            return {self._resolve(key): self._resolve(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [self._resolve(entry) for entry in value]
        return value

    def _referred(self, match: re.Match[str]) -> str:
        word, _, name = match[0][1:].partition(":")
        if (word, name) == ("key", "head"):
            return PublicKey(self.sim.lists.head_key.public_key()).id
        if word == "key":
            return self.sim.people[name].public.id
        if word == "statement":
            return self.claims[name].digest
        if word == "lock":
            return (self.house or {})[name][0].digest
        return self.wheel.digest if word == "wheel" else self.other.digest


VERBS: Mapping[str, Callable[[Scenario, Edit], None]] = {
    **{
        verb: getattr(Scenario, f"_{verb}")
        for verb in (
            "wheel", "file", "prepend", "set", "claim", "sign", "hint", "drop", "copy", "swap", "pin", "raw", "flip",
            "freeze", "oversize", "file_name", "policy", "revoke", "head", "head_by", "head_type", "checkpoint", "base",
            "rules", "damage", "next_head", "metadata", "rotate", "root", "clock", "enrolled", "floor", "seen",
            "request", "provides", "host", "lock", "house", "findings", "vulnerable", "check",
        )
    },
    "unset": Scenario._set,
    "rebuild": Scenario._rebuilt,
    "unrecorded": Scenario._unrecord,
    **dict.fromkeys(("set_file", "set_replace", "set_append", "set_cut", "set_repeat"), Scenario._change_set),
}  # fmt: skip
"""Each verb, and what it does."""
