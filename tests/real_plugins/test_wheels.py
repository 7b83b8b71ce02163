"""Real wheels from the index, in one host beside one another: attested, let in by the gate, loaded and used.

Pure ones, compiled ones, ones that bring their own libraries, namespaces, package data, locked dependencies. Where they
come from and their licences are those of the projects named; none of their content is kept here.
"""

from __future__ import annotations

import json
import subprocess
from typing import NamedTuple

import pytest

from loadlock.testing import Deployment
from tests.real_plugins.fetch import HERE, bare_environment
from tests.verifier.importing.real_wheels import fetch, pins

pytestmark = pytest.mark.real_input


class Use(NamedTuple):
    """What is done with a plugin, and which wheels it locks."""

    code: str
    locks: tuple[str, ...] = ()


USES = {
    # pure
    "attrs": Use("import attr\n@attr.s(auto_attribs=True)\nclass A:\n    x: int = 1\nassert A() == A(1)"),
    "click": Use(
        "import click\nfrom click.testing import CliRunner\n@click.command()\ndef it():\n    click.echo('hi')\n"
        "assert CliRunner().invoke(it).output == 'hi\\n'"
    ),
    "more-itertools": Use("from more_itertools import chunked\nassert [*chunked('abc', 2)] == [['a', 'b'], ['c']]"),
    "six": Use("from six.moves.urllib.parse import quote\nassert quote('a b') == 'a%20b'"),
    "sortedcontainers": Use("from sortedcontainers import SortedSet\nassert [*SortedSet('cab')] == ['a', 'b', 'c']"),
    # with locked dependencies
    "jinja2": Use("import jinja2\nassert jinja2.Template('{{ a|e }}').render(a='<') == '&lt;'", ("markupsafe",)),
    "rich": Use(
        "import io\nfrom rich.console import Console\nfrom rich.markdown import Markdown\n"
        "from rich.syntax import Syntax\n"
        "out = io.StringIO()\nConsole(file=out, width=40).print(Markdown('# Title'), Syntax('a = 1', 'python'))\n"
        "assert 'Title' in out.getvalue() and 'a = 1' in out.getvalue()",
        ("markdown-it-py", "mdurl", "pygments"),
    ),
    "pydantic-core": Use(
        "from pydantic_core import SchemaValidator\n"
        "assert SchemaValidator({'type': 'list', 'items_schema': {'type': 'int'}}).validate_json('[1]') == [1]",
        ("typing-extensions",),
    ),
    "requests": Use(
        "import requests\nrequest = requests.Request('GET', 'https://host.example/ä', params={'a': 'b'}).prepare()\n"
        "assert request.url == 'https://host.example/%C3%A4?a=b'\n"
        "assert requests.certs.where().endswith('.pem')",
        ("charset-normalizer", "idna", "certifi"),
    ),
    "python-dateutil": Use(
        "from datetime import date\nfrom dateutil.relativedelta import relativedelta\n"
        "assert date(2026, 1, 31) + relativedelta(months=1) == date(2026, 2, 28)",
        ("tzdata",),
    ),
    # namespaces
    "zope-event": Use("import zope.event\nseen = []\nzope.event.subscribers.append(seen.append)\n"
                      "zope.event.notify(1)\nassert seen == [1]"),
    "ruamel-yaml": Use("from ruamel.yaml import YAML\nassert YAML(typ='safe', pure=True).load('a: [1]') == {'a': [1]}"),
    # package data
    "pytz": Use("import pytz\nassert pytz.timezone('Europe/Vienna').zone == 'Europe/Vienna'"),
    # compiled
    "orjson": Use("import orjson\nassert orjson.loads(orjson.dumps({'a': [1, None]})) == {'a': [1, None]}"),
    "msgpack": Use("import msgpack\nassert msgpack.unpackb(msgpack.packb([1])) == [1]\n"
                   "assert msgpack.Packer.__module__ == 'msgpack._cmsgpack'"),
    "pyyaml": Use("import yaml\nassert yaml.load('a: 1', Loader=yaml.CSafeLoader) == {'a': 1}"),
    "regex": Use("import regex\nassert regex.match(r'\\p{Lu}+', 'ÄB').group() == 'ÄB'"),
    "simplejson": Use("import simplejson\nassert simplejson.loads('[1.5]', use_decimal=True)[0] == 1.5\n"
                      "import simplejson._speedups"),
    "bitarray": Use("from bitarray import bitarray\nassert bitarray('1101').count() == 3"),
    "zstandard": Use("import zstandard\ndata = zstandard.compress(b'x' * 999)\nassert len(data) < 99\n"
                     "assert zstandard.decompress(data) == b'x' * 999"),
    "lxml": Use("from lxml import etree\nassert etree.fromstring('<a><b n=\"1\"/></a>').xpath('//b/@n') == ['1']"),
    # with libraries of their own
    "numpy": Use("import numpy\nassert numpy.linalg.inv(numpy.diag([2.0, 4.0])).tolist() == [[0.5, 0], [0, 0.25]]"),
    "pillow": Use("import io\nfrom PIL import Image\nout = io.BytesIO()\nImage.new('RGB', (8, 4)).save(out, 'webp')\n"
                  "assert Image.open(out).size == (8, 4)"),
    "psycopg2-binary": Use("import psycopg2, psycopg2.extensions\n"
                           "assert psycopg2.extensions.libpq_version() > 100000\n"
                           "assert psycopg2.extensions.parse_dsn('dbname=x host=y')['dbname'] == 'x'"),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What one host says of all of them."""
    place = tmp_path_factory.mktemp("wheels")
    with Deployment(place) as deployment:
        for name, use in USES.items():
            (wheel,) = fetch([name])
            deployment.attest(wheel, locks=fetch(use.locks), entry_points={"smoke": {"main": "main"}})
        python = bare_environment(place / "bare")
        uses = {name.replace("-", "_"): use.code for name, use in USES.items()}
        argv = [python, "-I", HERE / "wheels.py", deployment.directory, json.dumps(uses)]
        done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=120, cwd=place)
        assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("name", USES)
def test_it_is_loaded_and_used(name: str, told: dict[str, str]) -> None:
    assert told.get(name.replace("-", "_")) == "ok", told


def test_all_came_from_memory(told: dict[str, str]) -> None:
    assert told["elsewhere"] == ""
    assert int(told["compiled"]) > 20


def test_they_are_of_all_kinds() -> None:
    wheels = {pins()[name].file for name, use in USES.items() for name in (name, *use.locks)}
    assert len(wheels) > 30
    assert sum("none-any" in wheel for wheel in wheels) > 15
    assert sum("linux" in wheel for wheel in wheels) > 10
