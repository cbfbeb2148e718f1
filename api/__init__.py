"""The HTTP API: thin routes that turn requests into commands and queries (Litestar)."""
