"""The names that stand for ids: one row an alias that is in use (`ledger.aliases`)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ledger.aliases import ALIAS_EVENTS, DEFAULT_LOCATION, alias_changes
from ledger.domain.decision import RecordedEvent
from projections.projection import SCHEMA, Columns, Connection, Statements
from schemas.common import Event

_COLUMNS = Columns("kind text", "key text", "target_id bigint")

_SQL = Statements(
    end="""
        DELETE FROM {schema}.alias
        WHERE tenant_id = $1
          AND (kind, target_id) IN (SELECT * FROM unnest($2::text[], $3::bigint[]))
    """,
    begin="""
        INSERT INTO {schema}.alias (tenant_id, kind, key, target_id)
        SELECT $1, r.* FROM unnest($2::text[], $3::text[], $4::bigint[]) AS r
    """,
    move="""
        INSERT INTO {schema}.alias (tenant_id, kind, key, target_id) VALUES ($1, $2, '', $3)
        ON CONFLICT (tenant_id, kind, key) DO UPDATE SET target_id = excluded.target_id
    """,
    find="""
        SELECT wanted.kind, wanted.key, found.target_id
        FROM unnest($2::text[], $3::text[]) AS wanted (kind, key)
        CROSS JOIN LATERAL (
            SELECT a.target_id FROM {schema}.alias a
            WHERE a.tenant_id = $1 AND a.kind = wanted.kind AND a.key = wanted.key
            LIMIT 1
        ) AS found
    """,
)


class Aliases:
    """Folds which name stands for which id. The primary key is what makes a name unique."""

    name: ClassVar[str] = "aliases"
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, Sequence[str]]] = {"alias": ("tenant_id", "kind", "key")}
    event_types: ClassVar[frozenset[type[Event]]] = ALIAS_EVENTS

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return (
            _COLUMNS.create(schema, "alias", self.tables["alias"])
            + f"CREATE INDEX alias_by_target ON {schema}.alias (tenant_id, target_id, kind);"
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Give each id the last name said of it, after all older names of those ids ended.

        In that order a name that passes from one id to another within a batch never clashes.
        """
        last: dict[tuple[str, int], str | None] = {}
        default: int | None = None
        for recorded in events:
            for change in alias_changes(recorded.event):
                if change.kind == DEFAULT_LOCATION:
                    default = change.target_id
                else:
                    last[change.kind, change.target_id] = change.key
        sql = _SQL.of(schema)
        if default is not None:
            await connection.execute(sql["move"], tenant_id, DEFAULT_LOCATION, default)
        if not last:
            return
        kinds, targets = zip(*last, strict=True)
        await connection.execute(sql["end"], tenant_id, kinds, targets)
        rows = [(kind, key, target) for (kind, target), key in last.items() if key is not None]
        if rows:
            await connection.execute(sql["begin"], tenant_id, *zip(*rows, strict=True))


async def find_aliases(
    connection: Connection, tenant_id: int, aliases: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the ids of those of the (kind, folded key) pairs that have one."""
    if not aliases:
        return {}
    kinds, keys = zip(*aliases, strict=True)
    rows = await connection.fetch(_SQL.of(SCHEMA)["find"], tenant_id, kinds, keys)
    return {(row["kind"], row["key"]): row["target_id"] for row in rows}
