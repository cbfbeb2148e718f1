"""The read models: one file each, with tables, fold and queries; and the engine that runs them."""
