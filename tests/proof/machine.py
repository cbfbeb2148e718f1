"""The stateful machine: random commands against the real ledger and the plain model.

Two committers share a tenant on a real database, are restarted at random, and are sent every
kind of stock command, backdated or not, again under the same key, and in batches. Each
decision must be the model's; at the end tables, log, tree and `verify` must agree with it.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from ledger.committer import Committer
from schemas.common import Command
from schemas.location import OpenLocation
from schemas.product import RegisterProduct, ReviseProduct
from schemas.stock import (
    AdjustStock,
    CountStock,
    ExtendReservation,
    IssueReserved,
    IssueStock,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReleaseReservation,
    ReserveStock,
    ReverseMovement,
    SetStock,
    ShipTransfer,
    TransferStock,
)
from tests.proof.model import REFUSED, Model
from tests.proof.rig import Answer, Desk, Ledger
from tests.proof.test_two_committers import check_log

_ACCOUNTS = (
    "unrestricted", "quarantine", "in_transit", "supplier", "customer", "adjustment", "loss"
)  # fmt: skip

# --- commands; times are minutes from now, put in when the command is sent --------------------

_quantities = st.sampled_from([Decimal(n) for n in ("1", "2", "3", "5", "8", "0.5")])
_skus = st.sampled_from(["A", "A", "A", "a ", "B", "C"])
_places = st.sampled_from(["MAIN", "MAIN", "EAST", "main"])
_back = st.one_of(st.none(), st.integers(0, 200))
_ahead = st.one_of(st.none(), st.integers(1, 90))
_holds = st.sampled_from(["r1", "r1", "r2"])
_at = {"sku": _skus, "location": _places}
_much = {**_at, "quantity": _quantities}
_between = {
    "sku": _skus,
    "from_location": _places,
    "to_location": _places,
    "quantity": _quantities,
}
_maybe = st.one_of(st.none(), _quantities)
_count = st.one_of(_quantities, st.just(Decimal(0)))

_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(ReceiveStock, **_much),
    st.builds(ReceiveStock, **_much, source=st.just("customer")),
    st.builds(IssueStock, **_much),
    st.builds(AdjustStock, **_at, quantity=_quantities.map(lambda q: -q)),
    st.builds(AdjustStock, **_much),
    st.builds(CountStock, **_at, quantity=_count),
    st.builds(SetStock, **_at, quantity=_count, expected_quantity=_maybe),
    st.builds(QuarantineStock, **_much),
    st.builds(ReleaseQuarantine, **_much, disposition=st.sampled_from(["restock", "scrap"])),
    st.builds(TransferStock, **_between),
    st.builds(ShipTransfer, **_between),
    st.builds(
        ReceiveTransfer,
        **_at,
        transfer_id=st.integers(1, 6),
        quantity=_quantities,
        lost=_count,
    ),
    st.builds(ReserveStock, **_much, reservation_id=_holds),
    st.builds(ExtendReservation, **_at, reservation_id=_holds, expires_at=st.none()),
    st.builds(ReleaseReservation, **_at, reservation_id=_holds, quantity=_maybe),
    st.builds(IssueReserved, **_at, reservation_id=_holds, quantity=_maybe),
    st.builds(ReverseMovement, position=st.integers(5, 60)),
    st.builds(
        ReviseProduct,
        product_id=st.integers(1, 2),
        name=st.just("N"),
        sku=st.sampled_from(["A", "B", "C"]),
        base_price=st.just(Decimal(1)),
        scale=st.just(3),
    ),
)
_timed = st.tuples(_commands, _back, _ahead)


class LedgerMachine(RuleBasedStateMachine):
    """The rules. The database and the event loop are the test's, and are shared by examples."""

    ledger: ClassVar[Ledger]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.model.now = datetime(2024, 3, 1, tzinfo=UTC)
        self.sent: list[tuple[list[Command], str, Answer]] = []
        self.houses: list[AbstractAsyncContextManager[Committer]] = []
        self.desks: list[Desk] = []
        self.tenant_id = self.do(self.ledger.new_tenant())
        for number in range(2):
            self.open(number)

    def do(self, coroutine: Any) -> Any:
        """Run a coroutine to its end."""
        return self.runner.run(coroutine)

    def open(self, number: int) -> None:
        """Start a committer, in the place of one that was stopped or is new."""
        house = self.ledger.committer(clock=lambda: self.model.now, states_cached_max=8)
        desk = Desk(self.do(house.__aenter__()), self.tenant_id)
        self.houses[number:number] = [house]
        self.desks[number:number] = [desk]

    def close(self, number: int) -> None:
        """Stop a committer."""
        del self.desks[number]
        self.do(self.houses.pop(number).__aexit__(None, None, None))

    # --- rules --------------------------------------------------------------------------

    @initialize(limit=st.sampled_from([0, -5]))
    def shop(self, limit: int) -> None:
        """Two places, one of which may owe a little, and two products."""
        self.send(
            [
                OpenLocation(name="Main", code="MAIN"),
                OpenLocation(name="East", code="EAST", stock_limit=Decimal(limit)),
                RegisterProduct(name="A", sku="A", base_price=Decimal(1), scale=3),
                RegisterProduct(name="B", sku="B", base_price=Decimal(1), scale=3),
                ReceiveStock(sku="A", location="MAIN", quantity=Decimal(20)),
            ],
            0,
        )

    @rule(timed=st.lists(_timed, min_size=1, max_size=5), desk=st.integers(0, 1))
    def submit(self, timed: Sequence[tuple[Command, int | None, int | None]], desk: int) -> None:
        """Send commands in one request, and hold the answers against the model's."""
        self.send([self.dated(*one) for one in timed], desk)

    @rule(minutes=st.sampled_from([0, 1, 7, 45, 180]))
    def wait(self, minutes: int) -> None:
        """Let time pass, so that holds expire and what was now is the past."""
        self.model.now += timedelta(minutes=minutes, seconds=1)

    @rule(which=st.integers(0, 50), desk=st.integers(0, 1))
    def send_again(self, which: int, desk: int) -> None:
        """A request whose answer was lost: the same answer again, and no second effect."""
        if self.sent:
            commands, key, first = self.sent[which % len(self.sent)]
            again = self.do(self.desks[desk].do(*commands, key=key, atomic=False))
            assert again.replayed
            assert (again.status, again.body, again.position) == (
                first.status,
                first.body,
                first.position,
            )

    @rule(number=st.integers(0, 1))
    def restart(self, number: int) -> None:
        """A process ends, and another begins that knows nothing."""
        self.close(number)
        self.open(number)

    # --- what they do -------------------------------------------------------------------

    def dated(self, command: Command, back: int | None, ahead: int | None) -> Command:
        """Put times into a command."""
        now = self.model.now
        changes: dict[str, datetime] = {}
        if back is not None and hasattr(command, "effective_at"):
            changes["effective_at"] = now - timedelta(minutes=back)
            if isinstance(command, SetStock):
                changes["effective_at"] = now
            if isinstance(command, ReverseMovement):
                # Now and then at the movement's own time.
                there = self.model.by_position.get(command.position)
                changes["effective_at"] = there.at if there is not None else now
        if ahead is not None and hasattr(command, "expires_at"):
            changes["expires_at"] = now + timedelta(minutes=ahead)
        return msgspec.structs.replace(command, **changes)

    def send(self, commands: list[Command], desk: int) -> None:
        """Send commands as one request and check each result; then let the model take it in."""
        key = f"key {len(self.sent)}.{self.model.now.isoformat()}.{len(commands)}.{id(commands)}"
        answer = self.do(self.desks[desk].do(*commands, key=key, atomic=False))
        recorded = self.recorded([n for result in answer.results for n in result.positions])
        for command, result in zip(commands, answer.results, strict=True):
            if result.positions:
                # Each commit is later than the one before, by a microsecond if no time has passed.
                self.model.now = recorded[result.positions[0]]
            verdict = self.model.judge(command)
            told = f"{command} at {self.model.now}: {result}, model: {verdict}"
            if isinstance(verdict, str):
                assert verdict == REFUSED
                assert result.refused is not None, told
            else:
                assert result.refused is None, told
                verdict(dict(zip(result.types, result.positions, strict=True)))
        if any(result.positions for result in answer.results):
            self.sent.append((commands, key, answer))

    def recorded(self, positions: list[int]) -> dict[int, datetime]:
        """Return when events were recorded."""
        if not positions:
            return {}
        rows = self.do(
            self.ledger.rows(
                self.tenant_id,
                "SELECT position, recorded_at FROM ledger.event "
                f"WHERE position BETWEEN {min(positions)} AND {max(positions)}",
            )
        )
        return {row["position"]: row["recorded_at"] for row in rows}

    # --- what must hold -----------------------------------------------------------------

    @invariant()
    def on_hand_agrees(self) -> None:
        """The cheapest comparison, after each step."""
        rows = self.do(
            self.ledger.rows(
                self.tenant_id,
                "SELECT product_id, location_id, unrestricted FROM projections.stock_level",
            )
        )
        for row in rows:
            key = (row["product_id"], row["location_id"], "unrestricted")
            assert row["unrestricted"] == self.model.accounts[key], key

    def teardown(self) -> None:
        """Compare everything, and stop."""
        try:
            self.do(self.compare())
        finally:
            for number in reversed(range(len(self.desks))):
                self.close(number)

    async def compare(self) -> None:
        """Hold tables, log and tree against the model and against themselves."""
        model, ledger, tenant_id = self.model, self.ledger, self.tenant_id
        log = await check_log(ledger, tenant_id)
        versions = Counter(row.stream for row in log)
        levels = await ledger.rows(tenant_id, "SELECT * FROM projections.stock_level")
        total: dict[int, Decimal] = defaultdict(Decimal)
        for level in levels:
            product, place = level["product_id"], level["location_id"]
            for account in _ACCOUNTS:
                assert level[account] == model.accounts[product, place, account], (level, account)
                total[product] += level[account]
            assert level["version"] == versions[f"stock-{product}-{place}"]
        assert not any(total.values()), f"stock came from nowhere: {total}"

        reserved: dict[tuple[int, int], Decimal] = defaultdict(Decimal)
        live = {}
        for row in await ledger.rows(tenant_id, "SELECT * FROM projections.reservation"):
            where = (row["product_id"], row["location_id"])
            reserved[where] += row["quantity_left"]
            if row["expires_at"] is None or row["expires_at"] > model.now:
                live[*where, row["reservation_id"]] = (row["quantity_left"], row["expires_at"])
        assert live == {
            (*where, name): (hold.quantity, hold.expires_at)
            for where, place in model.places.items()
            for name, hold in place.holds.items()
            if hold.expires_at is None or hold.expires_at > model.now
        }
        for level in levels:
            where = (level["product_id"], level["location_id"])
            assert level["reserved"] == reserved[where]
            assert level["in_transit"] == sum(
                incoming.quantity for incoming in model.places[where].incoming.values()
            )

        movements = await ledger.rows(
            tenant_id, "SELECT * FROM projections.movement ORDER BY position"
        )
        assert Counter(
            (
                row["type"],
                row["product_id"],
                row["from_account"],
                row["from_location_id"],
                row["to_account"],
                row["to_location_id"],
                row["quantity"],
                row["effective_at"],
            )
            for row in movements
        ) == Counter((m.type, m.product, *m.leg, m.quantity, m.at) for m in model.movements)
        balance: dict[tuple[int, int, str], Decimal] = defaultdict(Decimal)
        for row in movements:
            source = (row["product_id"], row["from_location_id"], row["from_account"])
            target = (row["product_id"], row["to_location_id"], row["to_account"])
            balance[source] -= row["quantity"]
            balance[target] += row["quantity"]
            assert (row["from_balance"], row["to_balance"]) == (balance[source], balance[target])

        aliases = await ledger.rows(
            tenant_id, "SELECT key, target_id FROM projections.alias WHERE kind = 'sku'"
        )
        assert {row["key"]: row["target_id"] for row in aliases} == model.skus
        self.check_limits(log)
        await ledger.verify(tenant_id)

    def check_limits(self, log: Sequence[Any]) -> None:
        """No prefix of the log, and no business time, has less available than the limit (I6)."""
        available: dict[tuple[int, int], Decimal] = defaultdict(Decimal)
        steps: dict[tuple[int, int], list[tuple[datetime, Decimal]]] = defaultdict(list)
        limits = dict(self.model.limits.values())
        for row in log:
            for where, change in _available(row.type, msgspec.json.decode(row.data)):
                available[where] += change
                steps[where].append((row.effective_at, change))
                assert available[where] >= limits[where[1]], f"oversold at {row.position}"
        for where, changes in steps.items():
            for time in {at for at, _ in changes}:
                there = sum((change for at, change in changes if at <= time), Decimal(0))
                assert there >= limits[where[1]], f"{where} oversold as of {time}"


def _available(kind: str, data: dict[str, Any]) -> Iterator[tuple[tuple[int, int], Decimal]]:
    """Give what a stored event does to what is available where, from its JSON alone."""
    if "product_id" not in data or "location_id" not in data:
        return
    here, quantity = (data["product_id"], data["location_id"]), Decimal(data.get("quantity", 0))
    signs = {
        "StockReceived": 1,
        "StockAdjusted": 1,
        "CountVarianceRevised": 1,
        "TransferReceived": 1,
        "ReservationReleased": 1,
        "TransferShipped": -1,
        "StockReserved": -1,
        "StockQuarantined": -1,
    }
    if kind in signs:
        yield here, signs[kind] * quantity
    elif kind == "StockCounted":
        yield here, Decimal(data["variance"])
    elif kind == "StockIssued" and "reservation_id" not in data:
        yield here, -quantity
    elif kind == "QuarantineReleased" and data.get("disposition", "restock") == "restock":
        yield here, quantity
    elif kind == "MovementReversed":
        for side, sign in (("from", -1), ("to", 1)):
            if data[f"{side}_account"] == "unrestricted":
                yield (data["product_id"], data[f"{side}_location_id"]), sign * quantity
