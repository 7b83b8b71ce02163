"""The revocation list: the client's rules, the look-up, the standing rules."""
