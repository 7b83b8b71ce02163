"""The console: pages for people. What it shows is read from the ledger, what it does is done by the authority."""
