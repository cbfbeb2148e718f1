"""Webhook endpoints: one row a receiver, with where it is, what it is told and how it stands.

Secrets are not in the log, and so not here: they are in ``webhook.secret``.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.webhook import (
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointEnabled,
    WebhookEndpointRevised,
    WebhookEndpointVerified,
    WebhookSecretRotated,
)

_COLUMNS = Columns(
    "endpoint_id bigint",
    "url text",
    "topics text[]",
    "format text",
    "kind text null",
    "receiver_id text null",
    "description text null",
    "verified boolean",
    "disabled_cause text null",
    "created_at timestamptz",
    "revised_at timestamptz",
    "secret_rotated_at timestamptz null",
    "previous_secret_until timestamptz null",
    "version bigint",
    "position bigint",
)

_SQL = Statements(
    load=f"""
        SELECT {_COLUMNS.listed} FROM {{schema}}.webhook_endpoint
        WHERE tenant_id = $1 AND endpoint_id = ANY ($2::bigint[])
    """,
    state=f"""
        INSERT INTO {{schema}}.webhook_endpoint (tenant_id, {_COLUMNS.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_COLUMNS.recordset})
        ON CONFLICT (tenant_id, endpoint_id) DO UPDATE
        SET {_COLUMNS.overwrite(keep={"endpoint_id"})}
    """,
    delete="""
        DELETE FROM {schema}.webhook_endpoint
        WHERE tenant_id = $1 AND endpoint_id = ANY ($2::bigint[])
    """,
)


class Policy(NamedTuple):
    """Which addresses webhooks may go to: ``http`` besides https, and private ones."""

    http_allowed: bool = False
    private_allowed: bool = False


class WebhookEndpoints:
    """Folds what is said of receivers. ``disabled_cause`` is null while one is enabled."""

    name: ClassVar[str] = "webhook_endpoints"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "webhook_endpoint": ("tenant_id", "endpoint_id")
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {
            WebhookEndpointCreated,
            WebhookEndpointRevised,
            WebhookEndpointVerified,
            WebhookSecretRotated,
            WebhookEndpointDisabled,
            WebhookEndpointEnabled,
            WebhookEndpointDeleted,
        }
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the table."""
        return _COLUMNS.create(schema, "webhook_endpoint", self.tables["webhook_endpoint"])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Bring the rows of the endpoints that events are about up to the last of them."""
        sql = _SQL.of(schema)
        # All of these events name their endpoint.
        named: Any = [recorded.event for recorded in events]
        ids = sorted({event.endpoint_id for event in named})
        found = await connection.fetch(sql["load"], tenant_id, ids)
        rows: dict[int, dict[str, Any]] = {row["endpoint_id"]: dict(row) for row in found}
        for recorded in events:
            _fold(rows, recorded)
        gone = [endpoint_id for endpoint_id in ids if endpoint_id not in rows]
        if gone:
            await connection.execute(sql["delete"], tenant_id, gone)
        if rows:
            await connection.execute(sql["state"], tenant_id, rows_as_json(rows.values()))


def _fold(rows: dict[int, dict[str, Any]], recorded: RecordedEvent) -> None:
    at = recorded.recorded_at
    match recorded.event:
        case WebhookEndpointCreated() as event:
            rows[event.endpoint_id] = msgspec.structs.asdict(event) | {
                "disabled_cause": None,
                "created_at": at,
                "secret_rotated_at": None,
                "previous_secret_until": None,
            }
            endpoint_id = event.endpoint_id
        case WebhookEndpointRevised() as event:
            rows[event.endpoint_id] |= msgspec.structs.asdict(event)
            endpoint_id = event.endpoint_id
        case WebhookEndpointVerified(endpoint_id=endpoint_id):
            rows[endpoint_id]["verified"] = True
        case WebhookSecretRotated(endpoint_id=endpoint_id, overlap_hours=hours):
            rows[endpoint_id]["secret_rotated_at"] = at
            rows[endpoint_id]["previous_secret_until"] = at + timedelta(hours=hours)
        case WebhookEndpointDisabled(endpoint_id=endpoint_id, cause=cause):
            rows[endpoint_id]["disabled_cause"] = cause
        case WebhookEndpointEnabled(endpoint_id=endpoint_id):
            rows[endpoint_id]["disabled_cause"] = None
        case WebhookEndpointDeleted(endpoint_id=endpoint_id):
            del rows[endpoint_id]
            return
        case other:
            raise TypeError(f"webhook_endpoints does not fold {type(other).__name__}")
    rows[endpoint_id] |= {
        "revised_at": at,
        "version": recorded.version,
        "position": recorded.position,
    }
