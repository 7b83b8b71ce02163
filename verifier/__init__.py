"""The reader: what a host calls before it lets a plugin in."""
