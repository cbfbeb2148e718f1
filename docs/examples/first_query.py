"""A first look at a tenant's tables with pandas: python first_query.py FILE_WITH_THE_CONNECTION"""

import asyncio
import sys
from pathlib import Path

import asyncpg
import pandas


async def main() -> None:
    """Print the movements of each kind, all as of one position."""
    connection = await asyncpg.connect(Path(sys.argv[1]).read_text(encoding="utf-8").strip())
    async with connection.transaction():
        position = await connection.fetchval("SELECT analysis.position()")
        rows = await connection.fetch("SELECT type, quantity, to_balance FROM movement ORDER BY 1")
    await connection.close()
    table = pandas.DataFrame([dict(row) for row in rows])
    sys.stdout.write(f"As of position {position}:\n{table}\n")


asyncio.run(main())
