"""Examples of event types; see `tests.golden.examples`."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from schemas.access import ApiKeyRotated
from schemas.common import Event
from schemas.demand import DemandLine, DemandRecorded, ImportBatchReversed
from schemas.import_batch import ImportBatchOpened, LineRefusal

EXAMPLES: Final[tuple[Event, ...]] = (
    DemandRecorded(
        batch_id="0f6c",
        chunk=2,
        first_line=2001,
        last_line=2003,
        digest="9b74c9897bac770ffc029102a200c5de",
        lines=(
            DemandLine(
                line=2001,
                product_id=12,
                quantity=Decimal("7.250"),
                order_date=date(2030, 2, 28),
                period="month",
            ),
            DemandLine(
                line=2003,
                product_id=13,
                quantity=Decimal(1),
                order_date=date(2030, 3, 1),
                period="week",
            ),
        ),
        refusals=(LineRefusal(line=2002, code="product_not_found", detail="no such SKU"),),
    ),
    ImportBatchReversed(batch_id="0f6c", reason="sent twice"),
    ApiKeyRotated(
        key_id=2,
        key_prefix="sl_live_4f_9aZ",
        generation=3,
        old_valid_until=datetime(2031, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
    ),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {
    ("ImportBatchOpened", 1): ImportBatchOpened(
        batch_id="b-7f3a",
        kind="order-lines",
        source_name="orders.csv",
        source_digest="sha256:7f3a",
        options={"timezone": "Europe/London"},
    ),
}
