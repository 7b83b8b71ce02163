"""The subcommands of owners, certifiers and rebuilders."""
