"""Telling others of what happened: events, signed and delivered at least once (docs/spec/webhooks.md)."""
