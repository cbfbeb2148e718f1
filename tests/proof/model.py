"""What the ledger should come to, in plain Python: the oracle of the stateful machine.

It shares no code with the ledger, and knows nothing of streams, versions, snapshots or caches:
it decides one command at a time, on everything that ever happened (``model_places``).
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

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
from tests.proof.model_places import ZERO, Count, Effect, Hold, Incoming, Movement, Place

REFUSED = "refused"
Positions = Mapping[str, int]
Apply = Callable[[Positions], None]
Verdict = Apply | str
"""How to take a command in, given the positions of its events by type; or ``REFUSED``."""


class Model:
    """A tenant's stock."""

    def __init__(self) -> None:
        self.now = datetime.min.replace(tzinfo=UTC)
        self.skus: dict[str, int] = {}
        self.products = 0
        self.limits: dict[str, tuple[int, Decimal]] = {}
        self.places: dict[tuple[int, int], Place] = {}
        self.accounts: dict[tuple[int, int, str], Decimal] = defaultdict(lambda: ZERO)
        self.movements: list[Movement] = []
        self.by_position: dict[int, Movement] = {}
        self.transfers = 0

    def judge(self, command: Command) -> Verdict:
        """Return how to take a command in, or that it must be refused."""
        return self._judges[type(command)](self, command)

    # --- catalogue and places -----------------------------------------------------------

    def _open(self, command: OpenLocation) -> Verdict:
        key = command.code.strip().casefold()
        if key in self.limits:
            return REFUSED

        def apply(_: Positions) -> None:
            self.limits[key] = (len(self.limits) + 1, command.stock_limit)

        return apply

    def _register(self, command: RegisterProduct) -> Verdict:
        key = command.sku.strip().casefold()
        if key in self.skus:
            return REFUSED

        def apply(_: Positions) -> None:
            self.products += 1
            self.skus[key] = self.products

        return apply

    def _revise(self, command: ReviseProduct) -> Verdict:
        key = command.sku.strip().casefold()
        if command.product_id > self.products or self.skus.get(key, 0) not in (
            0,
            command.product_id,
        ):
            return REFUSED

        def apply(_: Positions) -> None:
            for sku, product in list(self.skus.items()):
                if product == command.product_id:
                    del self.skus[sku]
            self.skus[key] = command.product_id

        return apply

    # --- stock --------------------------------------------------------------------------

    def _where(self, sku: str | None, location: str | None) -> tuple[int, int, Place] | None:
        product = self.skus.get((sku or "").strip().casefold())
        place = self.limits.get((location or "").strip().casefold())
        if product is None or place is None:
            return None
        number, limit = place
        return product, number, self.places.setdefault((product, number), Place(limit))

    def _effect(
        self,
        place: Place,
        at: datetime,
        unrestricted: Decimal,
        quarantine: Decimal = ZERO,
        claimed: Decimal = ZERO,
        behind: int | None = None,
    ) -> Effect:
        revised = None
        if unrestricted + quarantine:
            later = [
                count
                for count in place.counts
                if not count.withdrawn
                and (
                    count.at > at
                    or (behind is not None and count.at == at and count.position > behind)
                )
            ]
            revised = min(later, key=lambda count: (count.at, count.position), default=None)
        return Effect(place, at, unrestricted, quarantine, claimed, revised)

    def _take_in(self, effect: Effect, product: int, number: int) -> None:
        place = effect.place
        lowers = effect.unrestricted < effect.claimed
        difference = effect.unrestricted + effect.quarantine
        if lowers or (effect.revised is not None and difference > 0):
            place.expire(self.now)
        place.steps.append((effect.at, effect.unrestricted, effect.quarantine, effect.claimed))
        if effect.revised is not None:
            effect.revised.moved -= difference
            place.steps.append((effect.revised.at, -difference, ZERO, ZERO))
            leg = ("unrestricted", number, "adjustment", number)
            if difference < 0:
                leg = ("adjustment", number, "unrestricted", number)
            self._move(
                Movement(
                    "CountVarianceRevised", product, number, leg, abs(difference), effect.revised.at
                )
            )

    def _move(self, movement: Movement) -> None:
        if movement.quantity:
            source, source_place, target, target_place = movement.leg
            self.accounts[movement.product, source_place, source] -= movement.quantity
            self.accounts[movement.product, target_place, target] += movement.quantity
            self.movements.append(movement)

    def _plain(
        self,
        command: ReceiveStock | IssueStock | AdjustStock | QuarantineStock | ReleaseQuarantine,
    ) -> Verdict:
        where = self._where(command.sku, command.location)
        if where is None:
            return REFUSED
        product, number, place = where
        at, quantity = command.effective_at or self.now, command.quantity
        match command:
            case ReceiveStock():
                kind, leg, change = (
                    "StockReceived",
                    (command.source, "unrestricted"),
                    (quantity, ZERO),
                )
            case IssueStock():
                kind, leg = "StockIssued", ("unrestricted", "customer")
                change = (-quantity, ZERO)
            case AdjustStock():
                leg = ("adjustment", "unrestricted")
                kind, change = "StockAdjusted", (quantity, ZERO)
                if quantity < 0:
                    leg = leg[::-1]
            case QuarantineStock():
                kind, leg = "StockQuarantined", ("unrestricted", "quarantine")
                change = (-quantity, quantity)
            case ReleaseQuarantine(disposition="restock"):
                kind, leg = "QuarantineReleased", ("quarantine", "unrestricted")
                change = (quantity, -quantity)
            case ReleaseQuarantine():
                kind, leg, change = "QuarantineReleased", ("quarantine", "loss"), (ZERO, -quantity)
        effect = self._effect(place, at, *change)
        if not effect.fits(self.now):
            return REFUSED
        movement = Movement(
            kind, product, number, (leg[0], number, leg[1], number), abs(quantity), at
        )
        return self._applying([(effect, product, number)], [movement])

    def _applying(
        self,
        effects: Sequence[tuple[Effect, int, int]],
        movements: Sequence[Movement],
        then: Apply | None = None,
    ) -> Apply:
        def apply(positions: Positions) -> None:
            for effect, product, number in effects:
                self._take_in(effect, product, number)
            for movement in movements:
                self._move(movement)
                self.by_position[positions[movement.type]] = movement
            if then is not None:
                then(positions)

        return apply

    def _count(self, command: CountStock) -> Verdict:
        where = self._where(command.sku, command.location)
        if where is None:
            return REFUSED
        product, number, place = where
        at = command.effective_at or self.now
        expected, quarantine = place.on_hand_at(at)
        variance = command.quantity - expected
        effect = self._effect(place, at, variance)
        if command.quantity < quarantine or not effect.fits(self.now):
            return REFUSED
        leg = ("adjustment", number, "unrestricted", number)
        if variance < 0:
            leg = ("unrestricted", number, "adjustment", number)
        count = Count(at, 0, variance)
        movement = Movement("StockCounted", product, number, leg, abs(variance), at, count=count)

        def then(positions: Positions) -> None:
            count.position = positions["StockCounted"]
            place.counts.append(count)

        return self._applying([(effect, product, number)], [movement], then)

    def _set(self, command: SetStock) -> Verdict:
        where = self._where(command.sku, command.location)
        if where is None:
            return REFUSED
        product, number, place = where
        present, _ = place.on_hand_at(self.now)
        if command.expected_quantity not in (None, present):
            return REFUSED
        difference = command.quantity - present
        if not difference:
            return _nothing
        effect = self._effect(place, self.now, difference)
        if not effect.fits(self.now):
            return REFUSED
        leg = ("adjustment", number, "unrestricted", number)
        if difference < 0:
            leg = ("unrestricted", number, "adjustment", number)
        movement = Movement("StockAdjusted", product, number, leg, abs(difference), self.now)
        return self._applying([(effect, product, number)], [movement])

    # --- transfers ----------------------------------------------------------------------

    def _transfer(self, command: TransferStock | ShipTransfer) -> Verdict:
        source = self._where(command.sku, command.from_location)
        target = self._where(command.sku, command.to_location)
        if source is None or target is None or source[1] == target[1]:
            return REFUSED
        product, here, place = source
        _, there, destination = target
        at, quantity = command.effective_at or self.now, command.quantity
        leaving = self._effect(place, at, -quantity)
        if not leaving.fits(self.now):
            return REFUSED
        transfer, direct = self.transfers + 1, isinstance(command, TransferStock)
        leg = ("unrestricted", here, "in_transit", there)
        shipped = Movement("TransferShipped", product, here, leg, quantity, at, transfer, direct)
        effects, movements = [(leaving, product, here)], [shipped]
        if direct:
            leg = ("in_transit", there, "unrestricted", there)
            received = Movement(
                "TransferReceived", product, there, leg, quantity, at, transfer, direct
            )
            shipped.twin, received.twin = received, shipped
            effects.append((self._effect(destination, at, quantity), product, there))
            movements.append(received)

        def then(_: Positions) -> None:
            self.transfers = transfer
            if not direct:
                destination.incoming[transfer] = Incoming(quantity, at, here)

        return self._applying(effects, movements, then)

    def _receive_transfer(self, command: ReceiveTransfer) -> Verdict:
        where = self._where(command.sku, command.location)
        if where is None:
            return REFUSED
        product, number, place = where
        incoming = place.incoming.get(command.transfer_id)
        at = command.effective_at or self.now
        gone = command.quantity + command.lost
        if incoming is None or gone > incoming.quantity or at < incoming.since:
            return REFUSED
        effects, movements = [], []
        if command.quantity:
            effects.append((self._effect(place, at, command.quantity), product, number))
            leg = ("in_transit", number, "unrestricted", number)
            movements.append(
                Movement(
                    "TransferReceived", product, number, leg, command.quantity, at,
                    command.transfer_id,
                )
            )  # fmt: skip
        if command.lost:
            leg = ("in_transit", number, "loss", number)
            movements.append(
                Movement(
                    "TransferLost", product, number, leg, command.lost, at, command.transfer_id
                )
            )

        def then(_: Positions) -> None:
            incoming.quantity -= gone
            if not incoming.quantity:
                del place.incoming[command.transfer_id]

        return self._applying(effects, movements, then)

    # --- reservations -------------------------------------------------------------------

    def _reserve(self, command: ReserveStock) -> Verdict:
        where = self._where(command.sku, command.location)
        if where is None:
            return REFUSED
        product, number, place = where
        at, quantity = command.effective_at or self.now, command.quantity
        name = command.reservation_id or ""
        live = place.live(name, self.now)
        if live is not None:
            same = Hold(quantity, live.since, command.expires_at, command.owner)
            return _nothing if live == same else REFUSED
        if command.expires_at is not None and command.expires_at <= self.now:
            return REFUSED
        effect = self._effect(place, at, ZERO, ZERO, quantity)
        if not effect.fits(self.now):
            return REFUSED

        def then(_: Positions) -> None:
            place.holds[name] = Hold(quantity, at, command.expires_at, command.owner)

        return self._applying([(effect, product, number)], [], then)

    def _extend(self, command: ExtendReservation) -> Verdict:
        where = self._where(command.sku, command.location)
        live = where and where[2].live(command.reservation_id, self.now)
        if not live or (command.expires_at is not None and command.expires_at <= self.now):
            return REFUSED

        def apply(_: Positions) -> None:
            live.expires_at = command.expires_at

        return apply

    def _use(self, command: ReleaseReservation | IssueReserved) -> Verdict:
        where = self._where(command.sku, command.location)
        if where is None:
            return REFUSED
        product, number, place = where
        at, name = command.effective_at or self.now, command.reservation_id
        issued = isinstance(command, IssueReserved)
        live = place.live(name, self.now)
        if live is None:
            if issued:
                return REFUSED
            return (lambda _: place.expire(self.now)) if name in place.holds else _nothing
        quantity = live.quantity if command.quantity is None else command.quantity
        if quantity > live.quantity or at < live.since:
            return REFUSED
        effect = self._effect(place, at, -quantity if issued else ZERO, ZERO, -quantity)
        if not effect.fits(self.now):
            return REFUSED
        leg = ("unrestricted", number, "customer", number)
        movements = [Movement("StockIssued", product, number, leg, quantity, at)] if issued else []

        def then(_: Positions) -> None:
            live.quantity -= quantity
            if not live.quantity:
                del place.holds[name]

        return self._applying([(effect, product, number)], movements, then)

    # --- undoing ------------------------------------------------------------------------

    def _reverse(self, command: ReverseMovement) -> Verdict:
        named = self.by_position.get(command.position)
        if named is None or named.undone:
            return REFUSED
        movements = [named] if named.twin is None else [named, named.twin]
        at = command.effective_at or (named.at if named.count else self.now)
        if at < named.at:
            return REFUSED
        effects: list[tuple[Effect, int, int]] = []
        thens: list[Callable[[], None]] = []
        reversals: list[Movement] = []
        for movement in movements:
            place = self.places[movement.product, movement.place]
            source, source_place, target, target_place = movement.leg
            quantity = movement.quantity
            if movement.count is not None:
                quantity = movement.count.moved
                source, target = "adjustment", "unrestricted"
            change = {"unrestricted": ZERO, "quarantine": ZERO}
            if source in change and source_place == movement.place:
                change[source] += quantity
            if target in change and target_place == movement.place:
                change[target] -= quantity
            behind = self._position(movement) if at == movement.at else None
            effect = self._effect(
                place, at, change["unrestricted"], change["quarantine"], ZERO, behind
            )
            if not effect.fits(self.now):
                return REFUSED
            effects.append((effect, movement.product, movement.place))
            leg = (target, target_place, source, source_place)
            if quantity < 0:
                leg = (source, source_place, target, target_place)
            reversals.append(
                Movement(
                    "MovementReversed", movement.product, movement.place, leg, abs(quantity), at
                )
            )
            if movement.transfer is not None and not movement.direct:
                on_its_way = self._on_its_way_again(movement, at)
                if on_its_way is None:
                    return REFUSED
                thens.append(on_its_way)

        def apply(_: Positions) -> None:
            for effect, product, number in effects:
                self._take_in(effect, product, number)
            for reversal in reversals:
                self._move(reversal)
            for movement in movements:
                movement.undone = True
                if movement.count is not None:
                    movement.count.withdrawn = True
            for then in thens:
                then()

        return apply

    def _position(self, movement: Movement) -> int:
        return next(p for p, there in self.by_position.items() if there is movement)

    def _on_its_way_again(self, movement: Movement, at: datetime) -> Callable[[], None] | None:
        """Return how undoing a part of a transfer changes what is on its way; None if it cannot."""
        assert movement.transfer is not None
        transfer = movement.transfer
        destination = self.places[
            movement.product,
            movement.leg[1] if movement.type != "TransferShipped" else movement.leg[3],
        ]
        incoming = destination.incoming.get(transfer)
        if movement.type == "TransferShipped":
            if incoming is None or incoming.quantity != movement.quantity:
                return None
            return lambda: destination.incoming.pop(transfer) and None

        def again() -> None:
            if incoming is None:
                destination.incoming[transfer] = Incoming(movement.quantity, at, 0)
            else:
                incoming.quantity += movement.quantity
                incoming.since = max(incoming.since, at)

        return again

    _judges: Mapping[type[Command], Callable[..., Verdict]] = {
        OpenLocation: _open,
        RegisterProduct: _register,
        ReviseProduct: _revise,
        ReceiveStock: _plain,
        IssueStock: _plain,
        AdjustStock: _plain,
        QuarantineStock: _plain,
        ReleaseQuarantine: _plain,
        CountStock: _count,
        SetStock: _set,
        TransferStock: _transfer,
        ShipTransfer: _transfer,
        ReceiveTransfer: _receive_transfer,
        ReserveStock: _reserve,
        ExtendReservation: _extend,
        ReleaseReservation: _use,
        IssueReserved: _use,
        ReverseMovement: _reverse,
    }


def _nothing(_: Positions) -> None:
    """Take in a command that changes nothing, since it is so already."""
