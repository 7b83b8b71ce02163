"""Copies of the public tree for mirrors and content delivery networks (docs/spec/export.md)."""
