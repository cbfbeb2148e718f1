"""Levels and open holds once more, for analysts: without the movements, which only grow.

The same figures as in `projections.stock_levels`, of which this is a small part: the balances of
the seven accounts and what is reserved, by product and location, and the holds themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, cast, get_args

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import claim_of, legs
from projections.projection import BALANCE, QUANTITY, Columns, Connection, Statements
from schemas.common import Event
from schemas.stock import Account, ReservationExtended, StockEvent, StockReserved

ACCOUNTS: Final[tuple[str, ...]] = get_args(Account)
_INDEX: Final = {account: index for index, account in enumerate(ACCOUNTS)}
_RESERVED: Final = len(ACCOUNTS)
_FIGURES: Final = (*ACCOUNTS, "reserved", "movements")

_LEVEL: Final = Columns(
    "product_id bigint",
    "location_id bigint",
    *(f"{account} {BALANCE}" for account in ACCOUNTS),
    f"reserved {BALANCE}",
    "movements bigint",
    "position bigint",
)
_RESERVATION: Final = Columns(
    "product_id bigint",
    "location_id bigint",
    'reservation_id text COLLATE "C"',
    f"reserved {QUANTITY}",
    f"quantity_left {BALANCE}",
    "expires_at timestamptz null",
    "created_at timestamptz",
    "position bigint",
)

_SQL: Final = Statements(
    add=f"""
        INSERT INTO {{schema}}.star_stock_level AS l
        SELECT d.* FROM unnest((SELECT $1::text::{{schema}}.star_stock_level[])) AS d
        ON CONFLICT (tenant_id, product_id, location_id) DO UPDATE
        SET {", ".join(f"{name} = l.{name} + excluded.{name}" for name in _FIGURES)},
            position = excluded.position
    """,
    # A name may be claimed anew once its hold has ended, even within one batch.
    hold="""
        INSERT INTO {schema}.star_reservation AS r
            (tenant_id, product_id, location_id, reservation_id, reserved, quantity_left,
             expires_at, created_at, position)
        SELECT $1, h.product_id, h.location_id, h.reservation_id, h.reserved::numeric,
               h.quantity_left::numeric, h.expires_at, h.created_at, h.position
        FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                    $7::timestamptz[], $8::timestamptz[], $9::bigint[])
            AS h (product_id, location_id, reservation_id, reserved, quantity_left, expires_at,
                  created_at, position)
    """,
    change="""
        UPDATE {schema}.star_reservation r
        SET quantity_left = r.quantity_left - c.used::numeric,
            expires_at = CASE WHEN c.is_extended THEN c.expires_at ELSE r.expires_at END
        FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::boolean[],
                    $7::timestamptz[])
            AS c (product_id, location_id, reservation_id, used, is_extended, expires_at)
        WHERE r.tenant_id = $1 AND r.product_id = c.product_id
          AND r.location_id = c.location_id AND r.reservation_id = c.reservation_id
    """,
    end="""
        DELETE FROM {schema}.star_reservation r
        USING unnest($2::bigint[], $3::bigint[], $4::text[])
            AS c (product_id, location_id, reservation_id)
        WHERE r.tenant_id = $1 AND r.product_id = c.product_id
          AND r.location_id = c.location_id AND r.reservation_id = c.reservation_id
          AND r.quantity_left <= 0
    """,
)

_Key = tuple[int, int, str]


class StarStock:
    """Folds every stock event into levels and open holds."""

    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "star_stock_level": ("tenant_id", "product_id", "location_id"),
        "star_reservation": ("tenant_id", "product_id", "location_id", "reservation_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(get_args(StockEvent))

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        levels, holds = self.tables
        return _LEVEL.create(
            schema, levels, self.tables[levels], "WITH (fillfactor = 70)"
        ) + _RESERVATION.create(schema, holds, self.tables[holds])

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add the batch up by level, then add it to the rows; bring the holds up to it."""
        levels: dict[tuple[int, int], list[Any]] = {}
        claims: list[tuple[RecordedEvent, _Key, Any]] = []
        for recorded in events:
            event: Any = recorded.event
            product_id: int = event.product_id
            level = _level(levels, product_id, event.location_id, recorded.position)
            claim = claim_of(event)
            if claim is not None:
                name, change = claim
                level[_RESERVED] += change
                claims.append((recorded, (product_id, event.location_id, name), change))
            elif isinstance(event, ReservationExtended):
                key = (product_id, event.location_id, event.reservation_id)
                claims.append((recorded, key, None))
            leg = legs(event)
            if leg is None:
                continue
            level[_RESERVED + 1] += 1
            source, from_place, to, to_place, quantity = leg
            _level(levels, product_id, from_place, recorded.position)[_INDEX[source]] -= quantity
            _level(levels, product_id, to_place, recorded.position)[_INDEX[to]] += quantity
        rows = ",".join(
            f'"({tenant_id},{product_id},{place},{",".join(map(str, figures))})"'
            for (product_id, place), figures in levels.items()
        )
        await connection.execute(_SQL.of(schema)["add"], f"{{{rows}}}")
        if claims:
            await _write_holds(connection, schema, tenant_id, claims)


def _level(
    levels: dict[tuple[int, int], list[Any]], product_id: int, place: int, position: int
) -> list[Any]:
    """Return a level's figures, their last one being the position that touched it last."""
    level = levels.get((product_id, place))
    if level is None:
        level = levels[product_id, place] = [0] * (len(_FIGURES) + 1)
    level[-1] = position
    return level


async def _write_holds(
    connection: Connection,
    schema: str,
    tenant_id: int,
    claims: Sequence[tuple[RecordedEvent, _Key, Any]],
) -> None:
    """Write what became of holds: made and gone within the batch, made, or changed."""
    made: dict[_Key, list[Any]] = {}
    changed: dict[_Key, list[Any]] = {}
    for recorded, key, change in claims:
        event = recorded.event
        if isinstance(event, StockReserved):
            made[key] = [
                change, change, event.expires_at, recorded.recorded_at, recorded.position
            ]  # fmt: skip
        elif key in made:
            if change is None:
                made[key][2] = cast(ReservationExtended, event).expires_at
            else:
                made[key][1] += change
        else:
            used = changed.setdefault(key, [0, False, None])
            if change is None:
                used[1:] = True, cast(ReservationExtended, event).expires_at
            else:
                used[0] -= change
    sql = _SQL.of(schema)
    if changed:
        used, extended, expiries = zip(*changed.values(), strict=True)
        keys = tuple(zip(*changed, strict=True))
        await connection.execute(
            sql["change"], tenant_id, *keys, [str(q) for q in used], extended, expiries
        )
        if any(used):
            await connection.execute(sql["end"], tenant_id, *keys)
    rows = [
        (*key, str(reserved), str(left), *rest)
        for key, (reserved, left, *rest) in made.items()
        if left > 0
    ]
    if rows:
        await connection.execute(sql["hold"], tenant_id, *zip(*rows, strict=True))
