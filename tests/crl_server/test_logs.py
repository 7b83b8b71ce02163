"""The log: one record a line whatever is in it, with the request's id, and without secrets."""

from __future__ import annotations

import io
import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest
import urllib3

from crl_server.operating.logs import JsonLines, TextLines, configured, request_id
from crl_server.operating.serving import utc_now
from crl_server.service import Authority
from tests.crl_server.deployments import made
from tests.crl_server.live import Live
from tests.crl_server.test_cli import serving

HOSTILE = 'x\n2026-01-31T12:00:00.000Z error   crl_server: forged\r\x1b[31m\u202e\u2028"}'


def test_logging_ends_as_it_began() -> None:
    root, urllib3s = logging.getLogger(), logging.getLogger("urllib3")
    before = root.handlers[:], root.level, urllib3s.level
    with configured("text", "debug", io.StringIO()):
        assert (len(root.handlers), root.level, urllib3s.level) == (1, logging.DEBUG, logging.WARNING)
    assert (root.handlers, root.level, urllib3s.level) == before


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("crl_server.x", logging.ERROR, "x.py", 1, message, args, more.pop("exc_info", None))
    made.__dict__.update(more)
    return made


def test_a_record_is_one_json_object_on_one_line() -> None:
    line = JsonLines().format(record("met %s", HOSTILE, fields={"status": 500}))
    assert line.isascii()
    assert "\n" not in line
    found = json.loads(line)
    assert (found["message"], found["level"], found["logger"], found["status"]) == (
        f"met {HOSTILE}", "error", "crl_server.x", 500,
    )  # fmt: skip
    assert found["time"].endswith("Z")


def test_text_cannot_forge_a_record() -> None:
    first, *rest = TextLines().format(record("met %s", HOSTILE)).split("\n")
    assert first.endswith("crl_server.x: met x")
    assert all(line.startswith("    ") for line in rest)
    assert all(letter.isprintable() for line in (first, *rest) for letter in line)


@pytest.mark.parametrize("formatter", [JsonLines(), TextLines()])
def test_a_traceback_belongs_to_its_record(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        text = formatter.format(record("failed", exc_info=(ValueError, error, error.__traceback__)))
    assert "ValueError" in text
    assert all(line.startswith("    ") for line in text.split("\n")[1:])


def test_a_long_message_is_cut() -> None:
    assert len(JsonLines().format(record("x" * 100_000))) < 9_000


def test_the_id_of_the_request_is_in_every_line() -> None:
    token = request_id.set("abc")
    try:
        assert json.loads(JsonLines().format(record("m")))["request_id"] == "abc"
        assert " [abc]: m" in TextLines().format(record("m"))
    finally:
        request_id.reset(token)


def test_libraries_do_not_tell_what_they_send() -> None:
    stream = io.StringIO()
    with configured("json", "debug", stream):
        for name in ("urllib3.connectionpool", "botocore.auth", "boto3"):
            logging.getLogger(name).debug("Authorization: secret")
        logging.getLogger("crl_server").debug("ours")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["ours"]


def test_a_request_is_logged_with_its_id_and_without_its_secrets(authority: Authority) -> None:
    stream = io.StringIO()
    with configured("json", "info", stream), Live(authority) as live:
        first = live.ask("GET", "/v1/plugins?token=loadlock_secret", "loadlock_secret", headers={"X-Request-Id": "r-1"})
        second = live.ask("GET", "/v1/artifacts/%0Aforged%1b", headers={"X-Request-Id": "not plain"})
        live.ask("GET", "/lists/head.json")
        live.ask("GET", "/healthz")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [line for line in lines if line["logger"] == "crl_server.access"]
    assert [(line["method"], line["route"], line["status"]) for line in told] == [
        ("GET", "/v1/plugins", 401), ("GET", "/v1/artifacts/{digest}", 400),
    ]  # fmt: skip
    assert (first.headers["x-request-id"], told[0]["request_id"]) == ("r-1", "r-1")
    assert second.headers["x-request-id"] == told[1]["request_id"] != "not plain"
    assert told[1]["path"] == "/v1/artifacts/\\nforged\\x1b"
    assert told[0]["ms"] >= 0
    assert "loadlock_secret" not in stream.getvalue()


def test_the_server_logs_as_it_is_told(tmp_path: Path) -> None:
    made(tmp_path / "acme", now=utc_now().replace(microsecond=0)).close()
    with serving(tmp_path / "acme", "--log-format", "json", "--log-level", "info") as process:
        assert process.stdout is not None
        address = json.loads(process.stdout.readline())["address"]
        with urllib3.PoolManager(retries=False, timeout=20) as pool:
            pool.request("GET", f"{address}/v1/rules", headers={"X-Request-Id": "one"})
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["route"] for line in lines if line.get("request_id") == "one"] == ["/v1/rules"]
    assert process.returncode == 0
