"""Real wheels, most of them compiled, served from memory alone to a clean interpreter, do what they are for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.verifier.importing.children import run_child
from tests.verifier.importing.real_wheels import fetch

pytestmark = pytest.mark.real_input


class Use(NamedTuple):
    """What a test does with a package: the wheels that are served, and code whose last line prints ``ok``."""

    wheels: tuple[str, ...]
    code: str


USES = {
    "orjson": Use(
        ("orjson",), "import orjson\nassert orjson.loads(orjson.dumps({'a': [1, None]})) == {'a': [1, None]}"
    ),
    "markupsafe": Use(
        ("markupsafe",),
        "import markupsafe\nassert markupsafe.escape('<a>') == '&lt;a&gt;'\n"
        "assert markupsafe._escape_inner.__module__ == 'markupsafe._speedups'",
    ),
    "pydantic-core": Use(
        ("pydantic-core", "typing-extensions"),
        "from pydantic_core import SchemaValidator, ValidationError\n"
        "validator = SchemaValidator({'type': 'list', 'items_schema': {'type': 'int'}})\n"
        "assert validator.validate_json('[1, \"2\"]') == [1, 2]\n"
        "try:\n    validator.validate_python(['x'])\nexcept ValidationError as error:\n"
        "    assert error.errors()[0]['type'] == 'int_parsing'",
    ),
    "six": Use(
        ("six",),
        "import six.moves.urllib.parse\nfrom six.moves import range\nfrom six.moves.urllib.parse import quote\n"
        "assert quote('a b') == 'a%20b'\nassert [*range(2)] == [0, 1]\n"
        "try:\n    import six.moves.unheard_of\nexcept ModuleNotFoundError:\n    pass",
    ),
    "msgpack": Use(
        ("msgpack",),
        "import msgpack\nassert msgpack.unpackb(msgpack.packb({'a': b'\\0'})) == {'a': b'\\0'}\n"
        "assert msgpack.Packer.__module__ == 'msgpack._cmsgpack'",
    ),
    "pyyaml": Use(
        ("pyyaml",),
        "import yaml\nassert yaml.load('a: [1, 2]', Loader=yaml.CSafeLoader) == {'a': [1, 2]}\n"
        "assert yaml.dump({'a': 1}, Dumper=yaml.CDumper) == 'a: 1\\n'",
    ),
    "lxml": Use(
        ("lxml",),
        "from lxml import etree, html, objectify\n"
        "tree = etree.fromstring('<a><b n=\"1\"/></a>')\nassert tree.xpath('//b/@n') == ['1']\n"
        "assert html.fromstring('<p>x').text == 'x'\nassert objectify.fromstring('<a><b>2</b></a>').b == 2\n"
        "assert etree.XSLT(etree.fromstring('<xsl:stylesheet version=\"1.0\" '\n"
        "    'xmlns:xsl=\"http://www.w3.org/1999/XSL/Transform\"/>'))",
    ),
    "cryptography": Use(
        ("cryptography", "cffi"),
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey\n"
        "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\nfrom cryptography.fernet import Fernet\n"
        "key = Ed25519PrivateKey.generate()\nkey.public_key().verify(key.sign(b'x'), b'x')\n"
        "assert AESGCM(bytes(16)).decrypt(bytes(12), AESGCM(bytes(16)).encrypt(bytes(12), b'x', b''), b'') == b'x'\n"
        "box = Fernet(Fernet.generate_key())\nassert box.decrypt(box.encrypt(b'x')) == b'x'",
    ),
    "numpy": Use(
        ("numpy",),
        "import numpy\nassert numpy.allclose(numpy.linalg.inv(numpy.diag([2.0, 4.0])), numpy.diag([0.5, 0.25]))\n"
        "assert numpy.fft.fft(numpy.ones(8))[0] == 8\nassert 0 <= numpy.random.default_rng(1).random() < 1\n"
        "assert numpy.array([3, 1, 2]).argsort().tolist() == [1, 2, 0]",
    ),
    "pillow": Use(
        ("pillow",),
        "import io\nfrom PIL import Image, ImageCms, ImageDraw, ImageFont, features\n"
        "picture = Image.new('RGB', (40, 20), 'red')\n"
        "ImageDraw.Draw(picture).text((1, 1), 'x', font=ImageFont.load_default(12), fill='white')\n"
        "for kind in ('png', 'jpeg', 'webp', 'tiff', 'jpeg2000', 'avif'):\n    stream = io.BytesIO()\n"
        "    picture.save(stream, kind)\n    assert Image.open(stream).resize((4, 2)).size == (4, 2)\n"
        "assert features.check('raqm')\nassert ImageCms.createProfile('sRGB')",
    ),
}
WITH_LIBRARIES = ("numpy", "pillow")

FROM_MEMORY = """
import os
mapped = {line.split(maxsplit=5)[5].strip() for line in open("/proc/self/maps") if len(line.split()) > 5}
own = [plugin.snapshot.files.keys() for plugin in plugins]
brought = {os.path.basename(path) for files in own for path in files if ".so" in path}
assert not [name for name in mapped if os.path.basename(name) in brought], "a library of the wheel came from disk"
assert not brought or any(name.startswith("/memfd:loadlock ") for name in mapped)
for name, module in list(sys.modules.items()):
    if name.partition(".")[0] in {top for plugin in plugins for top in plugin.snapshot.top_levels}:
        assert str(getattr(module, "__file__", None) or "loadlock:").startswith("loadlock:"), name
print("ok")
"""


@pytest.fixture(scope="module", autouse=True)
def _fetched() -> None:
    """Fetch all at first, so that no test is about the index."""
    fetch({name for use in USES.values() for name in use.wheels})


@pytest.mark.parametrize("package", USES)
def test_package(package: str, bare: Path) -> None:
    use = USES[package]
    assert run_child(bare, f"{use.code}\n{FROM_MEMORY}", fetch(use.wheels)) == "ok\n"


@pytest.mark.parametrize("package", WITH_LIBRARIES)
def test_libraries_of_the_environment_are_not_used(package: str, bare: Path, tmp_path: Path) -> None:
    use = USES[package]
    evil = tmp_path / "evil"
    evil.mkdir()
    code = f"""
for path in plugins[0].snapshot.files:
    if ".libs/" in path:
        Path({str(evil)!r}, path.rpartition("/")[2]).write_bytes(b"evil")
{use.code}
{FROM_MEMORY}"""
    assert run_child(bare, code, fetch(use.wheels), {"LD_LIBRARY_PATH": str(evil)}) == "ok\n"
    assert list(evil.iterdir())


def test_cached_and_forked(bare: Path, tmp_path: Path) -> None:
    code = f"""
import os
cache = PrivateCache({str(tmp_path / "cache")!r})
wheel = Path({str(fetch(["numpy"])[0])!r})
plugin = register(read_wheel(wheel.read_bytes(), wheel.name, cache=cache), cache=CodeCache(cache))
numpy = plugin.import_module("numpy")
child = os.fork()
if child == 0:
    import numpy.polynomial
    os._exit(int(numpy.arange(4).sum()))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_child(bare, code, []) == run_child(bare, code, []) == "6\n"


def test_all_at_once(bare: Path) -> None:
    wheels = sorted({name for use in USES.values() for name in use.wheels})
    code = "\n".join(use.code for use in USES.values())
    assert run_child(bare, f"{code}\n{FROM_MEMORY}", fetch(wheels)) == "ok\n"


LATER_START = """
from verifier import private_directory
from verifier.wheels.wheel_cache import SeenFiles
from verifier.wheels.wheel_file import WheelFile
private_directory.SETTLED = -(10**9)
cache = PrivateCache(sys.argv.pop())
seen = SeenFiles(cache)
if (start := sys.argv.pop()) == "2":
    del PrivateCache._copy  # nothing is authenticated any more, and only what is used is copied
plugins = [register(WheelFile(Path(path), seen).snapshot(), cache=CodeCache(cache)) for path in sys.argv[2:]]
"""


def test_later_starts(bare: Path, tmp_path: Path) -> None:
    """What a library does not map is left out of sealed memory, and nothing misses it."""
    wheels = fetch(sorted({name for use in USES.values() for name in use.wheels}))
    code = "\n".join(use.code for use in USES.values())
    for start in range(3):
        arguments = [str(wheel) for wheel in wheels]
        begin = f"sys.argv[2:] = {[*arguments, str(start), str(tmp_path / 'cache')]!r}\n{LATER_START}"
        assert run_child(bare, f"{begin}\n{code}\n{FROM_MEMORY}", []) == "ok\n"
