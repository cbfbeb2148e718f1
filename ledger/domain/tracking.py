"""Lots and serial numbers of what moves: which it was of, whoever says so.

A movement is decided by its quantity first (`ledger.domain.posting`), and then by what it is
of, so a product that is not tracked pays nothing for this. What a client names is checked and
taken; what it does not name is found: coming in, it is of no known lot or number; going out, it
is picked (`ledger.domain.lots`, `ledger.domain.serial_picking`).
"""

from ledger.domain import lot_picking, serial_picking
from ledger.domain.decision import Decision, InvalidCommand, Refusal
from ledger.domain.movements import legs
from ledger.domain.product import ProductState
from ledger.domain.tracked import Movement, Outcome, Tracked


def is_plain(product: ProductState, command: Tracked) -> bool:
    """Tell whether lots and serials have nothing to do with a command."""
    return product.tracking_type == "none" and not command.lots and not command.serials


def track(decision: Decision, movement: Movement) -> Decision:
    """Return a decision about a tracked product with the lots and serials that it is of.

    Refusals: InvalidCommand, LotNotFound, LotDiffers, LotShort, InsufficientLots,
    LotsExceedStock, SerialNotFound, SerialInStock, SerialElsewhere, SerialMovedSince,
    InsufficientSerials, SerialsNeeded.
    """
    outcome = follow(decision, movement)
    return outcome if isinstance(outcome, Refusal) else outcome.events


def follow(decision: Decision, movement: Movement) -> Outcome | Refusal:
    """Return what `track` does, part by part."""
    fault = misnamed(movement.product, movement)
    if fault is not None:
        return fault
    if isinstance(decision, Refusal):
        return decision
    leg = legs(movement.event)
    if leg is None or movement.product.tracking_type == "none":
        return Outcome((), decision, ())
    if movement.product.tracking_type == "serial":
        return serial_picking.follow(decision, movement, leg)
    return lot_picking.follow(decision, movement, leg)


def misnamed(product: ProductState, named: Tracked) -> InvalidCommand | None:
    """Return the refusal of lots or serials given for a product that is not tracked so."""
    kind = product.tracking_type
    for field, given, wanted in (
        ("lots", named.lots, "batch"),
        ("serials", named.serials, "serial"),
    ):
        if given and kind != wanted:
            fault = (
                f"{product.sku!r} is not tracked by {field} (its tracking_type is {kind}); leave "
                f"{field} out"
            )
            return InvalidCommand(field=field, fault=fault)
    return None
