"""All that talks over the network, and never while a plugin loads."""
