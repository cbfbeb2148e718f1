"""The log and the rules: deciders (pure), committer (group commit), store (asyncpg), feed."""
