"""The subcommands that the service contributes to ``loadlock``; each module imports what is heavy when it runs."""
