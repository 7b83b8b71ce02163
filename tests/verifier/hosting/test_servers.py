"""gunicorn, preloaded or not, and uvicorn with workers: each worker calls plugins, and hears of a revocation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts import ROOT, HostedDeployment, set_of
from tests.verifier.hosting.servers import serving

MODULES = {"sample_plugin/__init__.py": "def hello():\n    return 'hello'\n"}
OPENING = """
import os, time
from verifier import PluginRevoked
from verifier.hosting import Plugins

def said(plugins):
    time.sleep(0.02)  # busy for a moment, so that the next request is the other worker's
    try:
        words = [point() for point in plugins.entry_points("exporters")] or ["stopped"]
    except PluginRevoked:
        words = ["stopped"]
    return f"{words[0]} by {os.getpid()}".encode()
"""
WSGI = f"""{OPENING}
plugins = Plugins.open()
made_in = os.getpid()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said(plugins) + b" of " + str(made_in).encode()]
"""
ASGI = f"""{OPENING}
from verifier.hosting.asgi import PluginsLifespan

async def bare(scope, receive, send):
    assert scope["type"] == "http"  # it does not know the lifespan protocol
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": said(scope["state"]["plugins"])}})

app = PluginsLifespan(bare, Plugins.open)
"""
SETTINGS = 'plugins = ["{}"]\ninterval = 0.1\npush = false\n{}'


@pytest.fixture
def environment(hosted: HostedDeployment) -> dict[str, str]:
    """What a server's process is told: where Loadlock is, and the deployment."""
    (hosted.directory / "loadlock.toml").write_text(SETTINGS.format(hosted.wheels, ""))
    return {"LOADLOCK_DEPLOYMENT": str(hosted.directory), "PYTHONPATH": str(ROOT)}


def hello(answers: set[str]) -> bool:
    """Two workers have answered, and both have called the plugin."""
    return len(answers) == 2 and all(answer.startswith("hello by ") for answer in answers)


def stopped(answers: set[str]) -> bool:
    return len(answers) == 2 and all(answer.startswith("stopped by ") for answer in answers)


def test_gunicorn_with_a_preloaded_application(
    hosted: HostedDeployment, environment: dict[str, str], tmp_path: Path
) -> None:
    wheel = hosted.plugin(MODULES)
    (tmp_path / "wsgi.py").write_text(WSGI)
    argv = ["gunicorn", "--preload", "--workers=2", "--bind=127.0.0.1:PORT", "--graceful-timeout=1", "wsgi:app"]
    with serving(argv, tmp_path, environment) as server:
        answers = server.until(hello)
        assert {answer.rpartition(" of ")[2] for answer in answers} == {str(server.process.pid)}
        hosted.revoke(wheel)
        server.until(stopped)


def test_gunicorn_that_loads_in_each_worker(
    hosted: HostedDeployment, environment: dict[str, str], tmp_path: Path
) -> None:
    wheel = hosted.plugin(MODULES)
    (tmp_path / "wsgi.py").write_text(WSGI)
    argv = ["gunicorn", "--workers=2", "--bind=127.0.0.1:PORT", "--graceful-timeout=1", "wsgi:app"]
    with serving(argv, tmp_path, environment) as server:
        assert str(server.process.pid) not in {answer.rpartition(" of ")[2] for answer in server.until(hello)}
        hosted.revoke(wheel)
        server.until(stopped)


def test_uvicorn_with_workers(hosted: HostedDeployment, environment: dict[str, str], tmp_path: Path) -> None:
    wheel = hosted.plugin(MODULES)
    (tmp_path / "asgi.py").write_text(ASGI)
    argv = ["uvicorn", "--workers=2", "--port=PORT", "--lifespan=on", "asgi:app"]
    with serving(argv, tmp_path, environment) as server:
        server.until(hello)
        hosted.revoke(wheel)
        server.until(stopped)


def test_a_server_whose_required_plugin_is_refused_does_not_start(
    hosted: HostedDeployment, environment: dict[str, str], tmp_path: Path
) -> None:
    set_of(hosted.plugin(MODULES)).unlink()
    (hosted.directory / "loadlock.toml").write_text(SETTINGS.format(hosted.wheels, 'required = ["sample_plugin"]'))
    (tmp_path / "asgi.py").write_text(ASGI)
    with serving(["uvicorn", "--port=PORT", "asgi:app"], tmp_path, environment) as server:
        assert server.process.wait(timeout=30) != 0
    assert "[set.missing]" in server.log.read_text()
