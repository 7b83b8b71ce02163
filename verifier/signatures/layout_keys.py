"""Public keys as in-toto layouts write them, and back."""

from __future__ import annotations

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from verifier.errors import Refused
from verifier.formats.layout import KeyValue, Layout, LayoutKey
from verifier.formats.text import Hex
from verifier.signatures.keys import PublicKey


def layout_key(public: PublicKey) -> LayoutKey:
    """A key as a layout names it; its id is the sha256 of its SubjectPublicKeyInfo, as everywhere in Loadlock."""
    loaded = serialization.load_der_public_key(public.spki)
    keyid = Hex(public.id.hex)
    if public.alg == "ed25519":
        raw = loaded.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return LayoutKey(keyid=keyid, keytype="ed25519", scheme="ed25519", keyval=KeyValue(public=raw.hex()))
    pem = loaded.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return LayoutKey(
        keyid=keyid, keytype="ecdsa", scheme="ecdsa-sha2-nistp256", keyval=KeyValue(public=pem.decode("ascii"))
    )


def keys_of(layout: Layout) -> dict[str, PublicKey]:
    """A layout's keys by the ids that it gives them, which may be those of in-toto's own tools.

    Raises:
        Refused: ``layout.unusable``: a key cannot be read, or stands under two ids, so that one person would count as
            two.
    """
    keys: dict[str, PublicKey] = {}
    for key in layout.keys.values():
        keys[key.keyid] = _read(key)
        if keys[key.keyid].alg != {"ecdsa": "ecdsa-p256"}.get(key.keytype, key.keytype):
            raise Refused("layout.unusable", "a key of the layout is of another kind than it says", found=key.keyid)
    if len({public.id for public in keys.values()}) != len(keys):
        raise Refused("layout.unusable", "the layout has one key under two ids", expected="one id for each key")
    return keys


def _read(key: LayoutKey) -> PublicKey:
    try:
        if key.scheme == "ed25519":
            return PublicKey(ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval.public)))
        return PublicKey.from_pem(key.keyval.public.encode())
    except (ValueError, Refused) as error:
        raise Refused("layout.unusable", "a key of the layout cannot be read", found=key.keyid) from error
