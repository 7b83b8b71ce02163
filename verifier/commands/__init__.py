"""The subcommands of hosts and of their operators."""
