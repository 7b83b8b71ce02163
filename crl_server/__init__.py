"""The service: admits artifacts, publishes them, and signs and serves the list of what is revoked."""
