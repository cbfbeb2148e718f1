"""The log and the analysts' tables as Parquet: for the command line, and over HTTP."""
