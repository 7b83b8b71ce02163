"""Single checks of steps 2 to 8 at their edges; each as a whole is shown by the vectors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator import PluginWheel, Simulator
from verifier.errors import Refused
from verifier.formats.manifest import Manifest, SignedManifest, parse_signed_manifest
from verifier.formats.strict_json import dumps
from verifier.judging.judgements import check_embedded, rule_of
from verifier.wheels.wheel import Snapshot, read_wheel

SIM = Simulator()


def snapshot(wheel: PluginWheel) -> Snapshot:
    return read_wheel(wheel.data, wheel.file_name)


def manifest(wheel: PluginWheel, **changes: Any) -> SignedManifest:
    claim = SIM.claims(wheel)["manifest"]
    claim.predicate |= changes
    return parse_signed_manifest(claim.predicate_bytes)


def code_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.code


# -- rule_of: a file name chooses whose signatures are asked for -------------------------------------------------------


@pytest.mark.parametrize(
    "file_name",
    [
        "", ".whl", "sample_plugin.whl", "sample_plugin-1.0.whl", "sample_plugin-1.0-py3-none-any.whl\n",
        "sample_plugin\n-1.0-py3-none-any.whl", "/sample_plugin-1.0-py3-none-any.whl",
        "x/../sample_plugin-1.0-py3-none-any.whl", "..-1.0-py3-none-any.whl", "sample_plugin-1.0-py3-none-any.zip",
        "sample_plug\u0456n-1.0-py3-none-any.whl", "s\u00e0mple-1.0-py3-none-any.whl", "-1.0-py3-none-any.whl",
        "_-1.0-py3-none-any.whl", "sample_plugin-one-py3-none-any.whl", "a" * 65 + "-1.0-py3-none-any.whl",
        "a" * 100_000 + "-1.0-py3-none-any.whl", "sample_plugin-1.0-x-py3-none-any.whl", "\x00-1.0-py3-none-any.whl",
        "sample__plugin-1.0-py3-none-any.whl",
    ],
)  # fmt: skip
def test_what_is_no_wheels_file_name_is_refused(file_name: str) -> None:
    assert code_of(rule_of, SIM.trust().policy, file_name) == "wheel.metadata"


@pytest.mark.parametrize("name", ["unknown", "sample", "sample_plugin_2", "sample_pluginx", "plugin"])
def test_what_the_policy_does_not_know_is_refused(name: str) -> None:
    assert code_of(rule_of, SIM.trust().policy, f"{name}-1.0-py3-none-any.whl") == "decision.unknown-plugin"


@pytest.mark.parametrize("name", ["sample_plugin", "Sample_Plugin", "SAMPLE.PLUGIN", "sample._plugin"])
@pytest.mark.parametrize("rest", ["1.0-py3-none-any", "1.0-1-py3-none-any", "2!9.9-7x-cp311-cp311-linux_x86_64"])
def test_a_name_is_normalised_before_it_chooses(name: str, rest: str) -> None:
    policy = SIM.trust().policy
    assert rule_of(policy, f"{name}-{rest}.whl") is rule_of(policy, "sample_plugin-1.0-py3-none-any.whl")


# -- the embedded manifest ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed", "embedded"),
    [
        ({"rows": 1}, {"rows": True}),
        ({"rows": 0}, {"rows": False}),
        ({"rows": 1}, {"rows": 1.0}),
        ({"rows": 0.0}, {"rows": -0.0}),
        ({"rows": [1]}, {"rows": [True]}),
        ({"rows": None}, {}),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
    ],
)
def test_values_that_python_confuses_are_told_apart(signed: dict[str, Any], embedded: dict[str, Any]) -> None:
    wheel = _embedding(config_defaults=embedded)
    assert code_of(check_embedded, manifest(wheel, config_defaults=signed), snapshot(wheel)) == "manifest.embedded"


def test_the_order_of_keys_and_defaults_left_out_say_nothing() -> None:
    wheel = _embedding(config_defaults={"b": 2, "a": 1}, hooks=[], hermetic_compatible=False)
    check_embedded(manifest(wheel, config_defaults={"a": 1, "b": 2}), snapshot(wheel))


CHANGES: dict[str, Any] = {
    "plugin_id": "other",
    "version": "9.9",
    "description": "Says something else.",
    "owner": "other",
    "kind": "tool",
    "api_version": ">=9",
    "maturity": "beta",
    "entry_points": {"exporters": {"hello": "sample_plugin:goodbye"}},
    "quality": {"coverage": 1},
    "expires_at": "2099-01-01T00:00:00Z",
    "hooks": ["start"],
    "config_schema": {"type": "object"},
    "config_defaults": {},
    "capabilities": [{"name": "network", "rationale": "for another reason"}],
    "allowed_egress": [],
    "data_classes": ["names"],
    "max_classification": "public",
    "retention": "P1D",
    "redaction": ["names"],
    "secrets": ["token"],
    "sdk_allowlist": [],
    "allowed_paths": ["reports"],
    "limits": {"memory_mib": 1},
    "hermetic_compatible": True,
    "isolation": "process",
    "host_provided": [],
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_of_a_declaration_is_compared(field: str) -> None:
    embedding = _embedding(**{field: CHANGES[field]})
    with pytest.raises(Refused) as caught:
        check_embedded(manifest(SIM.wheel()), snapshot(embedding))
    assert (caught.value.code, caught.value.found) == ("manifest.embedded", f"different: {field}")


def test_no_field_of_a_declaration_is_forgotten_here() -> None:
    assert set(CHANGES) == set(Manifest.__struct_fields__) - {"v"}


def _embedding(**changes: Any) -> PluginWheel:
    document = SIM.declaration(SIM.wheel()) | changes
    return SIM.wheel(files={"sample_plugin/PLUGIN_MANIFEST.json": dumps(document)})
