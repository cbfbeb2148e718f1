"""The vocabulary of Stockledger: commands, events and HTTP bodies as msgspec structs."""
