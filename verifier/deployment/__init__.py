"""What a host was enrolled with: its directory, and its trust, verified from the pinned root each time."""
