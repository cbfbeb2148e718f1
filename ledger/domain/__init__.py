"""Deciders: plain functions over structs. No I/O, clock or randomness in here (I10)."""
