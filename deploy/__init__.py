"""The composition root: settings, wiring, embedded PostgreSQL, migrations and the command line."""
