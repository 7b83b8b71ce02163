"""What a policy is once it is read: typed throughout, immutable in its parts, the same from TOML as from JSON."""

from __future__ import annotations

import json
import math
import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.verifier.formats.vectors import VECTORS
from verifier.errors import FormatError, Refused
from verifier.formats.policy import Policy, dump_policy, parse_policy, policy_of
from verifier.formats.text import Digest, Name, PluginId

TEXT = next(vector.valid for vector in VECTORS if vector.format == "policy")
POLICY = parse_policy(TEXT.encode())


def changed(**fields: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(TEXT)
    return document | fields


def test_keys_of_mappings_have_their_type() -> None:
    for field, type_ in (("keys", Digest), ("principals", Name), ("plugins", PluginId)):
        assert {type(key) for key in getattr(POLICY, field)} == {type_}
    certified = policy_of(changed(certifiers={"acme-ci": {"max_tier": "core"}}))
    assert {type(key) for key in certified.certifiers} == {Name}


def test_a_policy_that_is_built_in_the_code_keeps_the_same_rules() -> None:
    fields = {field: getattr(POLICY, field) for field in POLICY.__struct_fields__}
    with pytest.raises(ValueError, match="principals: expected a lower-case ASCII name"):
        Policy(**fields | {"principals": {"Not A Name": next(iter(POLICY.principals.values()))}})


def test_the_place_of_a_wrong_key_is_named() -> None:
    with pytest.raises(FormatError) as caught:
        policy_of(changed(plugins={"../x": {}}))
    assert caught.value.found.startswith("plugins: expected a plugin id")


def test_plain_values_and_json_give_the_same_policy() -> None:
    assert policy_of(json.loads(TEXT)) == POLICY
    assert parse_policy(dump_policy(POLICY)) == POLICY


@pytest.mark.parametrize(
    "line",
    [
        "valid_until = 2026-02-01T00:00:00Z",
        "valid_until = 2026-02-01",
        "version = 1.0",
        "version = true",
        "version = nan",
        "version = 9223372036854775807",
        "version = 0x29_",
        "profile = ['production']",
    ],
)
def test_toml_that_says_it_otherwise(line: str) -> None:
    name = line.split(" ", maxsplit=1)[0]
    try:
        value = tomllib.loads(line)[name]
    except tomllib.TOMLDecodeError:
        return
    with pytest.raises(FormatError) as caught:
        policy_of(changed(**{name: value}))
    assert (caught.value.code, caught.value.what) == ("format.schema", f"policy is wrong at $.{name}")


@pytest.mark.parametrize("email", [datetime(2026, 1, 1, tzinfo=UTC), math.nan])
def test_toml_values_that_json_does_not_have(email: object) -> None:
    person = {"issuer": "https://accounts.host.example", "email": email}
    principals = {"acme-ci": json.loads(TEXT)["principals"]["acme-ci"] | {"person": person}}
    with pytest.raises(FormatError) as caught:
        policy_of(changed(principals=principals))
    assert caught.value.code == "format.schema"


def test_the_principal_of_a_key() -> None:
    assert POLICY.principal_of(Digest(POLICY.principals[Name("acme-ci")].key or "")) == "acme-ci"
    assert POLICY.principal_of(POLICY.head_keys[0].key) is None


def former(**fields: Any) -> dict[str, Any]:
    return {"key": next(iter(POLICY.keys)), "status": "retired", "accepted": []} | fields


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [
        ("former", [former(status="active")], "format.schema"),
        ("former", [former(key="sha256:" + "0" * 64)], "trust.policy"),
        ("former", [former(key=POLICY.principals[Name("acme-ci")].key)], "trust.policy"),
        ("former", [former()], "trust.policy"),
        ("former", [former()] * 21, "format.schema"),
        ("key", None, "trust.policy"),
    ],
)
def test_a_former_key_is_known_and_nobody_elses(place: str, value: object, code: str) -> None:
    principal = json.loads(TEXT)["principals"]["acme-ci"] | {place: value}
    with pytest.raises(Refused) as caught:
        policy_of(changed(principals={"acme-ci": principal}))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "rule",
    [
        {"former_owners": [{"owner": "nobody"}]},
        {"owners": ["acme-ci"], "former_owners": [{"owner": "acme-ci"}]},
        {"former_owners": [{"owner": "acme-ci"}, {"owner": "acme-ci"}]},
    ],
)
def test_a_former_owner_is_a_principal_and_named_once(rule: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        policy_of(changed(plugins={"azure_embed": rule}))
    assert caught.value.code == "trust.policy"
