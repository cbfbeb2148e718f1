"""Files into the ledger: readers, pure translators of lines to commands, and their runner."""
