"""Stock: the balance of every account, the movements between them, and the open holds.

``stock_level`` has one row a product and location, with the balances of its seven accounts
(`schemas.stock`). ``movement`` has one row a movement: it takes ``quantity`` from one account
and gives it to another, and holds the balance of each after it. So conservation (invariant
I5) is in the shape of the table: no row can create or destroy stock.

``reserved`` is the sum of a level's rows in ``reservation``, those that have expired but were
not released yet among them; ``next_expiry`` is the first of their expiries, so that a read
subtracts expired ones only from the few rows that may have some (`projections.stock_queries`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, get_args

from ledger.domain.decision import RecordedEvent
from ledger.domain.movements import legs
from projections.projection import BALANCE, QUANTITY, SCHEMA, Columns, Connection, Statements
from schemas.common import Event
from schemas.stock import (
    Account,
    MovementReversed,
    ReservationExtended,
    ReservationReleased,
    StockEvent,
    StockIssued,
    StockReserved,
)

if TYPE_CHECKING:
    from projections.stock_levels_bulk import StockLevelsBulk

ACCOUNTS: Final[tuple[str, ...]] = get_args(Account)
_INDEX: Final = {account: index for index, account in enumerate(ACCOUNTS)}

# What a batch does to a level is a list: its accounts' changes in their order, then these.
_RESERVED: Final = len(ACCOUNTS)
_MOVEMENTS: Final = _RESERVED + 1
_VERSION: Final = _RESERVED + 2
_POSITION: Final = _RESERVED + 3
_Level = list[Any]

_LEVEL = Columns(
    "product_id bigint",
    "location_id bigint",
    *(f"{account} {BALANCE}" for account in ACCOUNTS),
    f"reserved {BALANCE}",
    "next_expiry timestamptz null",
    "movements bigint",
    "version bigint",
    "position bigint",
)
_MOVEMENT = Columns(
    "position bigint",
    "product_id bigint",
    "location_id bigint",
    'type text COLLATE "C"',
    'from_account text COLLATE "C"',
    "from_location_id bigint",
    'to_account text COLLATE "C"',
    "to_location_id bigint",
    f"quantity {QUANTITY} CHECK (quantity > 0)",
    f"from_balance {BALANCE}",
    f"to_balance {BALANCE}",
    "effective_at timestamptz",
    "recorded_at timestamptz",
    "reverses bigint null",
    "reversed_by bigint null",
)
_RESERVATION = Columns(
    "product_id bigint",
    "location_id bigint",
    'reservation_id text COLLATE "C"',
    f"reserved {QUANTITY}",
    f"quantity_left {BALANCE}",
    "owner text null",
    "expires_at timestamptz null",
    "created_at timestamptz",
    "position bigint",
)

_CLAIMING: Final[frozenset[type[Event]]] = frozenset(
    {StockReserved, ReservationExtended, ReservationReleased, StockIssued}
)
_AnyStockEvent = Any
"""A stock event whose type the fold has looked at; spelling each cast out would cost time."""


def _balance_of(level: str, account: str) -> str:
    cases = " ".join(f"WHEN '{name}' THEN {level}.{name}" for name in ACCOUNTS)
    return f"CASE {account} {cases} END"


_DELTAS = (*ACCOUNTS, "reserved")

# A batch comes as one parameter: the text of an array of the table's own rows. asyncpg spends
# as long on each element of an array parameter as PostgreSQL does on reading a whole row so.
_TOUCH = f"""
    INSERT INTO {{schema}}.stock_level AS l
    SELECT d.* FROM unnest((SELECT $1::text::{{schema}}.stock_level[])) AS d
    ON CONFLICT (tenant_id, product_id, location_id) DO UPDATE
    SET {", ".join(f"{name} = l.{name} + excluded.{name}" for name in _DELTAS)},
        movements = l.movements + excluded.movements,
        version = greatest(l.version, excluded.version),
        position = excluded.position
"""

_SQL = Statements(
    touch=_TOUCH,
    # A movement's balance after it is its account's balance now, less what came after it in
    # this batch; that (negated) is what its row says when it comes. Times that are the
    # batch's are left out of the rows: they are what takes longest to read.
    move=f"""
        WITH level AS ({_TOUCH} RETURNING l.product_id, l.location_id, {", ".join(ACCOUNTS)})
        INSERT INTO {{schema}}.movement
        SELECT m.tenant_id, m.position, m.product_id, m.location_id, m.type, m.from_account,
               m.from_location_id, m.to_account, m.to_location_id, m.quantity,
               m.from_balance + {_balance_of("f", "m.from_account")},
               m.to_balance + {_balance_of("t", "m.to_account")},
               coalesce(m.effective_at, m.recorded_at, $3), coalesce(m.recorded_at, $3),
               m.reverses, m.reversed_by
        FROM unnest((SELECT $2::text::{{schema}}.movement[])) AS m
        JOIN level f ON f.product_id = m.product_id
            AND f.location_id = coalesce(m.from_location_id, m.location_id)
        JOIN level t ON t.product_id = m.product_id
            AND t.location_id = coalesce(m.to_location_id, m.location_id)
    """,
    mark_reversed="""
        UPDATE {schema}.movement m SET reversed_by = r.reversed_by
        FROM unnest($2::bigint[], $3::bigint[]) AS r (reversed, reversed_by)
        WHERE m.tenant_id = $1 AND m.position = r.reversed
    """,
    hold="""
        INSERT INTO {schema}.reservation
            (tenant_id, product_id, location_id, reservation_id, reserved, quantity_left, owner,
             expires_at, created_at, position)
        SELECT $1, h.product_id, h.location_id, h.reservation_id, h.reserved::numeric,
               h.quantity_left::numeric, h.owner, h.expires_at, h.created_at, h.position
        FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[],
                    $8::timestamptz[], $9::timestamptz[], $10::bigint[])
            AS h (product_id, location_id, reservation_id, reserved, quantity_left, owner,
                  expires_at, created_at, position)
    """,
    change_hold="""
        UPDATE {schema}.reservation r
        SET quantity_left = r.quantity_left - c.used::numeric,
            expires_at = CASE WHEN c.is_extended THEN c.expires_at ELSE r.expires_at END
        FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::boolean[],
                    $7::timestamptz[])
            AS c (product_id, location_id, reservation_id, used, is_extended, expires_at)
        WHERE r.tenant_id = $1 AND r.product_id = c.product_id
          AND r.location_id = c.location_id AND r.reservation_id = c.reservation_id
    """,
    end_holds="""
        DELETE FROM {schema}.reservation r
        USING unnest($2::bigint[], $3::bigint[], $4::text[])
            AS c (product_id, location_id, reservation_id)
        WHERE r.tenant_id = $1 AND r.product_id = c.product_id
          AND r.location_id = c.location_id AND r.reservation_id = c.reservation_id
          AND r.quantity_left <= 0
    """,
    find_expiry="""
        UPDATE {schema}.stock_level l
        SET next_expiry = (
            SELECT min(r.expires_at) FROM {schema}.reservation r
            WHERE r.tenant_id = $1 AND r.product_id = l.product_id
              AND r.location_id = l.location_id
        )
        FROM unnest($2::bigint[], $3::bigint[]) AS c (product_id, location_id)
        WHERE l.tenant_id = $1 AND l.product_id = c.product_id AND l.location_id = c.location_id
    """,
)


class StockLevels:
    """Folds every stock event into levels, movements and open holds."""

    name: ClassVar[str] = "stock_levels"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "stock_level": ("tenant_id", "product_id", "location_id"),
        "movement": ("tenant_id", "position"),
        "reservation": ("tenant_id", "product_id", "location_id", "reservation_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(get_args(StockEvent))

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables.

        Levels are updated all the time, and none of their changing columns is indexed: with
        room on the page each update is heap-only.
        """
        return (
            _LEVEL.create(
                schema, "stock_level", self.tables["stock_level"], "WITH (fillfactor = 70)"
            )
            + _MOVEMENT.create(schema, "movement", self.tables["movement"])
            + _RESERVATION.create(schema, "reservation", self.tables["reservation"])
        )

    def bulk_fold(self, tenant_id: int) -> "StockLevelsBulk":
        """Return the quick way into empty tables."""
        # It takes a moment to load: only where it is needed.
        from projections.stock_levels_bulk import StockLevelsBulk

        return StockLevelsBulk(tenant_id)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add up the changes of each level; write them and the movements in one statement.

        The events are gone through from the last to the first, so that what an account has
        gathered so far is what comes after the event at hand.
        """
        if not events:
            return
        levels: dict[tuple[int, int], _Level] = {}
        moved: list[str] = []
        reversals: list[tuple[int, int]] = []
        claims: list[RecordedEvent] = []
        now = recorded_last = events[-1].recorded_at
        effective_last: datetime | None = None
        recorded_text = effective_text = ""
        for recorded in reversed(events):
            position, _, version, any_event, effective_at, recorded_at = recorded
            event = cast(_AnyStockEvent, any_event)
            kind: type[Event] = type(any_event)
            product_id = event.product_id
            location_id = event.location_id
            level = levels.get((product_id, location_id))
            if level is None:
                level = _touch(levels, product_id, location_id, version, position)
            elif version > level[_VERSION]:
                level[_VERSION] = version
            if kind in _CLAIMING and event.reservation_id is not None:
                claims.append(recorded)
                if kind is StockReserved:
                    level[_RESERVED] += event.quantity
                elif kind is not ReservationExtended:
                    level[_RESERVED] -= event.quantity
            leg = legs(any_event)
            if leg is None:
                continue
            from_account, from_location_id, to_account, to_location_id, quantity = leg
            source = target = level
            if from_location_id != location_id:
                source = levels.get((product_id, from_location_id)) or _touch(
                    levels, product_id, from_location_id, 0, position
                )
            if to_location_id != location_id:
                target = levels.get((product_id, to_location_id)) or _touch(
                    levels, product_id, to_location_id, 0, position
                )
            reverses = ""
            if kind is MovementReversed:
                reverses = str(event.reversed_position)
                reversals.append((event.reversed_position, position))
            from_index = _INDEX[from_account]
            to_index = _INDEX[to_account]
            if recorded_at is not recorded_last and recorded_at != recorded_last:
                recorded_last = recorded_at
                recorded_text = "" if recorded_at == now else recorded_at.isoformat()
            if effective_at is recorded_at or effective_at == recorded_at:
                effective_shown = ""
            else:
                if effective_at is not effective_last:
                    effective_last = effective_at
                    effective_text = effective_at.isoformat()
                effective_shown = effective_text
            moved.append(
                f"({tenant_id},{position},{product_id},{location_id},{kind.TYPE},"
                f"{from_account},{from_location_id},{to_account},{to_location_id},{quantity},"
                f"{-source[from_index]},{-target[to_index]},"
                f"{effective_shown},{recorded_text},{reverses},)"
            )
            level[_MOVEMENTS] += 1
            source[from_index] -= quantity
            target[to_index] += quantity
        sql = _SQL.of(schema)
        if moved:
            await connection.execute(
                sql["move"], _level_rows(tenant_id, levels), _array(moved), now
            )
        else:
            await connection.execute(sql["touch"], _level_rows(tenant_id, levels))
        if reversals:
            await connection.execute(sql["mark_reversed"], tenant_id, *zip(*reversals, strict=True))
        if claims:
            claims.reverse()
            await _write_claims(connection, schema, tenant_id, claims)


def _array(rows: Sequence[str]) -> str:
    """Return rows, whose fields need no quoting, as the text of an array of them."""
    return '{"' + '","'.join(rows) + '"}'


def _level_rows(tenant_id: int, levels: Mapping[tuple[int, int], _Level]) -> str:
    return _array(
        [
            f"({tenant_id},{product_id},{location_id},{a},{b},{c},{d},{e},{f},{g},{reserved},,"
            f"{movements},{version},{position})"
            for (product_id, location_id), (
                a, b, c, d, e, f, g, reserved, movements, version, position
            ) in levels.items()
        ]
    )  # fmt: skip


def _touch(
    levels: dict[tuple[int, int], _Level],
    product_id: int,
    location_id: int,
    version: int,
    position: int,
) -> _Level:
    level = levels[product_id, location_id] = [0, 0, 0, 0, 0, 0, 0, 0, 0, version, position]
    return level


async def _write_claims(
    connection: Connection, schema: str, tenant_id: int, claims: Sequence[RecordedEvent]
) -> None:
    """Write what became of holds: made and gone within the batch, made, or changed.

    A name may be claimed anew once its hold has ended, even within one batch: ended ones are
    deleted before new ones are written.
    """
    made: dict[tuple[int, int, str], list[Any]] = {}
    changed: dict[tuple[int, int, str], list[Any]] = {}
    for position, _, _, any_event, _, recorded_at in claims:
        event = cast(_AnyStockEvent, any_event)
        key = (event.product_id, event.location_id, event.reservation_id)
        if isinstance(any_event, StockReserved):
            quantity = any_event.quantity
            made[key] = [
                quantity, quantity, any_event.owner, any_event.expires_at, recorded_at, position
            ]  # fmt: skip
        elif key in made:
            if isinstance(any_event, ReservationExtended):
                made[key][3] = any_event.expires_at
            else:
                made[key][1] -= event.quantity
        else:
            change = changed.setdefault(key, [0, False, None])
            if isinstance(any_event, ReservationExtended):
                change[1:] = True, any_event.expires_at
            else:
                change[0] += event.quantity
    sql = _SQL.of(schema)
    if changed:
        used, extended, expiries = zip(*changed.values(), strict=True)
        keys = tuple(zip(*changed, strict=True))
        await connection.execute(
            sql["change_hold"], tenant_id, *keys, [str(q) for q in used], extended, expiries
        )
        if any(used):
            await connection.execute(sql["end_holds"], tenant_id, *keys)
    rows = [
        (*key, str(reserved), str(left), *rest)
        for key, (reserved, left, *rest) in made.items()
        if left > 0
    ]
    if rows:
        await connection.execute(sql["hold"], tenant_id, *zip(*rows, strict=True))
    places = {key[:2] for key in (*made, *changed)}
    await connection.execute(sql["find_expiry"], tenant_id, *zip(*places, strict=True))


async def plan_of_move(connection: Connection) -> str:
    """Return the plan of the statement that writes movements, for a test of it."""
    statement = _SQL.of(SCHEMA)["move"]
    for parameter in ("$1", "$2"):
        statement = statement.replace(f"{parameter}::text", "'{}'::text")
    statement = statement.replace("$3", "now()")
    return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {statement}"))
