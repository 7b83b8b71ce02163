"""The signed list and the public tree: from committed events to files that hosts believe."""
