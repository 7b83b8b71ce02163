"""Plugins that pip or uv has unpacked, and the two exceptions for what nobody attested."""
