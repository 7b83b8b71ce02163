"""The fixtures as the author of a host meets them: in a fresh process, found by pytest itself, inert until used."""

from __future__ import annotations

import re

import pytest

from loadlock.testing import REFUSALS
from tests.project.tree import ROOT

pytest_plugins = ["pytester"]

HOST = """
import sys
from verifier import LoadlockError

def start(gate, wheel):
    '''A host that goes on without what is refused.'''
    try:
        return gate.load(wheel).entry_point("plugins", "hello")("Ada")
    except LoadlockError as error:
        return error.code
"""


def test_a_hosts_own_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(host=HOST)
    pytester.makepyfile(
        """
        import pytest
        from host import start

        HELLO = {"hello.py": "def hello(name): return 'hello ' + name"}
        POINTS = {"plugins": {"hello": "hello:hello"}}

        def test_in_one_line(loadlock_load):
            assert loadlock_load(HELLO, entry_points=POINTS).entry_point("plugins", "hello")("Ada") == "hello Ada"

        def test_it_is_out_of_the_process_again(loadlock_load):
            import sys
            assert "hello" not in sys.modules
            assert loadlock_load(HELLO, entry_points=POINTS).facts.plugin_id == "test_plugin"

        def test_with_a_gate(loadlock_deployment, loadlock_gate):
            wheel = loadlock_deployment.attest(HELLO, entry_points=POINTS)
            assert start(loadlock_gate, wheel) == "hello Ada"

        @pytest.mark.parametrize("loadlock_refusal", ["set.missing", "revoked.artifact"], indirect=True)
        def test_what_is_refused(loadlock_refusal, loadlock_gate):
            assert start(loadlock_gate, loadlock_refusal.wheel) == loadlock_refusal.code
        """
    )
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis").assert_outcomes(passed=5)


def test_it_is_inert(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_imported(pytestconfig):
            assert "loadlock.testing.plugin" in sys.modules
            heavy = {"cryptography", "tuf", "msgspec", "securesystemslib", "urllib3", "attestor", "crl_server"}
            assert heavy & set(sys.modules) == set()
            assert not any(name.startswith("verifier") for name in sys.modules)
        """
    )
    pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis").assert_outcomes(passed=1)


def test_the_fixtures_are_listed_with_what_they_are(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider", "-p", "no:schemathesis")
    for name in ("loadlock_deployment", "loadlock_gate", "loadlock_load", "loadlock_refusal"):
        done.stdout.fnmatch_lines([f"{name}*"])


def test_the_guides_examples_work_as_they_stand(pytester: pytest.Pytester) -> None:
    guide = (ROOT / "docs" / "guides" / "test-a-host.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    pytester.makepyfile("\n".join(examples))
    chosen = "is_called or revoked_plugin_stops or list.stale or decision.denied"
    done = pytester.runpytest_subprocess("-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-k", chosen)
    done.assert_outcomes(passed=4, deselected=len(REFUSALS) - 2)
