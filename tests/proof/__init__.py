"""The proof: what the ledger promises (invariants I1 to I10), attacked on purpose."""
