"""Single checks of steps 2 to 8 at their edges; each as a whole is shown by the vectors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator import EVERYTHING, PluginWheel, Simulator
from verifier.errors import Refused
from verifier.formats.manifest import Manifest, SignedManifest, parse_signed_manifest
from verifier.formats.strict_json import dumps
from verifier.judgements import check_dependencies, check_embedded, requirements_here, rule_of
from verifier.wheel import Snapshot, read_wheel

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


# -- requirements ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requires", "names"),
    [
        ([], ()),
        (["attrs"], ("attrs",)),
        (["Some.Thing[extra]>=1 ; python_version>='3'"], ("Some.Thing",)),
        (["a; extra == 'x'", "b; python_version < '3'"], ()),
        (["a; extra == ''"], ("a",)),
        (["a>=1", "A<2", "b"], ("a", "A", "b")),
        (["a @ https://host.example/a.whl"], ("a",)),
    ],
)
def test_what_is_required_here(requires: list[str], names: tuple[str, ...]) -> None:
    assert tuple(found.name for found in requirements_here(snapshot(SIM.wheel(requires=requires)))) == names


@pytest.mark.parametrize("marker", ["os_name ~= 'posix'", "'a' in 'b'", "python_version ~= 'abc'"])
def test_a_marker_that_cannot_be_evaluated_is_refused(marker: str) -> None:
    wheel = SIM.wheel(requires=[f"attrs; {marker}"])
    try:
        found = snapshot(wheel)
    except Refused as error:  # 'packaging' refuses some of them when METADATA is read
        assert error.code == "wheel.metadata"
    else:
        assert code_of(requirements_here, found) == "wheel.metadata"


@pytest.mark.parametrize(
    ("declared", "provided", "code"),
    [
        (["attrs>=25"], {}, "dependency.missing"),
        (["attrs>=25"], {"attrs": "24.9"}, "dependency.missing"),
        (["attrs>=25"], {"attrs": "no version"}, "dependency.missing"),
        (["attrs>=25"], {"attrs": ""}, "dependency.missing"),
        (["attrs"], {"Attrs": "25.1"}, "dependency.missing"),
        (["other"], {"attrs": "25.1", "other": "1"}, "dependency.undeclared"),
        ([], {"attrs": "25.1"}, "dependency.undeclared"),
    ],
)
def test_what_the_host_has_to_provide(declared: list[str], provided: dict[str, str], code: str) -> None:
    wheel = SIM.wheel(requires=["attrs"])
    arguments = manifest(wheel, host_provided=declared), snapshot(wheel), provided.get
    assert code_of(check_dependencies, *arguments) == code


@pytest.mark.parametrize("version", ["25.0", "25.1rc1", "26.0.dev1", "25.1+local"])
def test_what_the_host_provides_satisfies(version: str) -> None:
    wheel = SIM.wheel(requires=["Attrs"])
    check_dependencies(manifest(wheel), snapshot(wheel), {"attrs": version}.get)


@pytest.mark.parametrize("requires", [["attrs>=26"], ["attrs>=25", "Attrs>=26"], ["attrs==25.1; python_version>='3'"]])
def test_the_host_also_satisfies_what_the_wheel_itself_requires(requires: list[str]) -> None:
    wheel = SIM.wheel(requires=requires)
    assert code_of(check_dependencies, manifest(wheel), snapshot(wheel), {"attrs": "25.4"}.get) == "dependency.missing"


def test_where_there_is_no_host_nothing_is_looked_up() -> None:
    wheel = SIM.wheel(requires=["attrs"])
    check_dependencies(manifest(wheel), snapshot(wheel), None)
    assert EVERYTHING.provided is None


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
