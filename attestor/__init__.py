"""The writer on the CI side: builds, describes and signs plugins, and verifies its own output."""
