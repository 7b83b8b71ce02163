"""The alert rules as they are shipped: judged by Prometheus's own tool, and about metrics that the server has."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta

import pytest
import yaml
from prometheus_client.metrics_core import Metric

from crl_server.export.exporter import Exporter
from crl_server.export.places import Directory
from crl_server.export.worker import ExportWorker
from crl_server.operating.instruments import Instruments
from crl_server.settings import Webhook
from crl_server.webhooks.worker import WebhookWorker
from tests.crl_server.deployments import ACTOR, NOW, made
from tests.project.tree import ROOT
from verifier.formats.revocations import MAX_TAIL
from verifier.formats.text import Name

FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "loadlock.rules.yml"
EXPRESSIONS = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]}
GUIDE = (ROOT / "docs" / "guides" / "operate.md").read_text("utf-8")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Metric]:
    """What a server with an export and a webhook exports, once it has answered a request."""
    directory = tmp_path_factory.mktemp("metrics")
    authority = made(directory / "acme")
    authority.create_token(Name("ends"), ["auditor"], timedelta(days=1), ACTOR, NOW - timedelta(hours=20))
    exporting = Exporter(authority, "mirror", Directory(directory / "mirror"), timedelta(days=1))
    webhook = Webhook(name=Name("soc"), url="https://hooks.example/", secret="soc.secret")
    instruments = Instruments(
        [ExportWorker(authority, exporting, lambda: NOW)], webhooks=[WebhookWorker(authority, webhook, lambda: NOW)]
    )
    instruments.watch(authority, lambda: NOW)
    instruments.answered("GET", "/v1/plugins", 200, 0.1)
    found = list(instruments.registry.collect())
    authority.close()
    return found


@pytest.mark.parametrize("words", [("check", "rules", RULES.name), ("test", "rules", "loadlock.rules.test.yml")])
def test_prometheus_understands_them_and_they_say_what_they_should(words: tuple[str, ...]) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is missing: see tools/system_packages.sh"
    done = subprocess.run([program, *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert (done.returncode, "SUCCESS" in done.stdout) == (0, True), done.stdout + done.stderr


def test_they_are_about_metrics_and_labels_that_there_are(families: list[Metric]) -> None:
    samples = [sample for family in families for sample in family.samples]
    labels = {
        name: {label for s in samples if s.name == name for label in s.labels} for name in {s.name for s in samples}
    }
    for alert, expression in EXPRESSIONS.items():
        asked = re.findall(r"(loadlock_\w+)(?:\{([^}]*)\})?", expression)
        assert asked or alert == "LoadlockDown"
        for name, selector in asked:
            assert name in labels, (alert, name)
            assert set(re.findall(r"(\w+)(?:=~?)\"", selector)) <= labels[name], (alert, selector)


def test_a_list_that_fills_is_told_of_before_it_is_full() -> None:
    threshold = int(re.findall(r"> (\d+)", EXPRESSIONS["LoadlockTailFills"])[0])
    assert threshold == MAX_TAIL * 8 // 10


def test_the_guide_names_every_metric_and_none_that_there_is_not(families: list[Metric]) -> None:
    ours = {family.name for family in families if family.name.startswith("loadlock_")}
    told = set(re.findall(r"`(loadlock_\w+)`", GUIDE))
    assert told == ours


def test_the_guide_has_the_part_that_the_alerts_send_people_to() -> None:
    assert "## What expires" in GUIDE
