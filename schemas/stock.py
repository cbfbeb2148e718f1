"""Stock: its commands, and its events, which are the storage format.

Every stock event that moves goods is one movement of a positive quantity from one account
to another. The accounts of a product at a location:

==============  ==================================================================
unrestricted    on the shelf and free of a block (SAP calls it unrestricted-use)
quarantine      on the premises, blocked
in_transit      on the way to this location
supplier        what came in from outside, counted negative
customer        what went out to customers
adjustment      what adjustments and counts found or missed
loss            scrapped, or lost on the way
==============  ==================================================================

On hand = unrestricted + quarantine. Available = on hand - reserved - quarantine.
"""

from schemas.stock_commands import (
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
    StockCommand,
    TransferStock,
)
from schemas.stock_events import (
    CountVarianceRevised,
    MovementReversed,
    QuarantineReleased,
    ReservationExtended,
    ReservationReleased,
    StockAdjusted,
    StockCounted,
    StockEvent,
    StockIssued,
    StockQuarantined,
    StockReceived,
    StockReserved,
    TransferExpected,
    TransferLost,
    TransferReceived,
    TransferShipped,
)
from schemas.stock_terms import (
    LOTS_MAX,
    SERIALS_MAX,
    Account,
    Destination,
    Disposition,
    LotEntry,
    LotPart,
    Lots,
    Origin,
    ReleaseCause,
    Serials,
    Unit,
)

__all__ = [
    "LOTS_MAX",
    "SERIALS_MAX",
    "Account",
    "AdjustStock",
    "CountStock",
    "CountVarianceRevised",
    "Destination",
    "Disposition",
    "ExtendReservation",
    "IssueReserved",
    "IssueStock",
    "LotEntry",
    "LotPart",
    "Lots",
    "MovementReversed",
    "Origin",
    "QuarantineReleased",
    "QuarantineStock",
    "ReceiveStock",
    "ReceiveTransfer",
    "ReleaseCause",
    "ReleaseQuarantine",
    "ReleaseReservation",
    "ReservationExtended",
    "ReservationReleased",
    "ReserveStock",
    "ReverseMovement",
    "Serials",
    "SetStock",
    "ShipTransfer",
    "StockAdjusted",
    "StockCommand",
    "StockCounted",
    "StockEvent",
    "StockIssued",
    "StockQuarantined",
    "StockReceived",
    "StockReserved",
    "TransferExpected",
    "TransferLost",
    "TransferReceived",
    "TransferShipped",
    "TransferStock",
    "Unit",
]
