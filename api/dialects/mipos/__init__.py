"""miPOS: the inventory side of its public API, at our base URL (seeds 001 and 002)."""
