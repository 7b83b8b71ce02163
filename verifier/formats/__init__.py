"""The wire formats: bytes to values and back, strict, without any input or output.

What is valid is what this package accepts; writers import it and produce exactly that. Each module has its page in
``docs/spec``. Nothing here imports more than msgspec, packaging and the standard library.
"""
