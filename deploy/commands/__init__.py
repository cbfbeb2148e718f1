"""The commands of ``stockledger``, one file each, found by their names."""
