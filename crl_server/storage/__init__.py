"""The database, behind its doors, on either engine; its backup and its restoration."""
