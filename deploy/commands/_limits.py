"""The reference page of limits, each figure read from the place that keeps it."""

from typing import Final

from api import (
    auth,
    credentials,
    endpoint,
    ingestion,
    large_body,
    ledger_events,
    query,
    reads,
    stock,
    usage,
    users,
    writes,
)
from api.imports import tables, xlsx_worker
from api.webhook_log import HEAD_BYTES
from deploy import http_server
from deploy.settings import Settings
from ledger import feed
from ledger.domain import posting
from schemas.common import FRACTION_DIGITS_MAX, INTEGER_DIGITS_MAX

_KIB: Final = 1 << 10
_MIB: Final = 1 << 20
_GIB: Final = 1 << 30


def limits_page() -> str:
    """Return ``limits.md``."""
    default = Settings()
    return f"""\
# Limits

Made by `stockledger reference --write docs/reference` from the code.

What is beyond a limit is refused with a problem that says so; nothing is cut off or rounded
silently. A name in parentheses is a [setting](settings.md), whose default is shown.

## Numbers, names and times

- A quantity or an amount: a plain decimal with at most {INTEGER_DIGITS_MAX} digits before the point
  and {FRACTION_DIGITS_MAX} behind. A product's `scale` may allow fewer behind. A balance keeps the
  same bound.
- An id: a whole number from 1 to 2^53 - 1.
- A SKU: 1 to 100 characters. Case, and spaces around it, make no difference.
- A location's code, a reservation's id: 1 to 50 characters.
- A name: 1 to 200 characters. Reason, reference, owner, barcode and the like: up to 200.
  Notes and descriptions: up to 2,000.
- A unit: 1 to 20 characters. A product: up to 20 alternative units.
- A time: with its zone, from {writes.EFFECTIVE_MIN.year} to {writes.EFFECTIVE_MAX.year - 1}.
- `effective_at`: at most {posting.AHEAD_MAX.seconds // 60} minutes ahead of the service's clock,
  which is then taken to be now.

## Requests

- A body: {endpoint.BODY_BYTES_MAX // _KIB} KiB. Of `/api/ledger/commands` and
  `/api/external/inventory/sync`: {default.body_bytes_max // _MIB} MiB (`body_bytes_max`), with 1 to
  {default.bulk_commands_max:,} commands or items (`bulk_commands_max`). Compressed bodies are not
  taken.
- A query string: {query.QUERY_BYTES_MAX:,} bytes.
- `Idempotency-Key`: 1 to 255 printable ASCII characters. The response is kept under it for
  {default.idempotency_days} days (`idempotency_days`).
- `min_position`: is waited for up to {reads.MIN_POSITION_WAIT_S:.0f} seconds; then 412.
- `X-Request-ID`: 1 to 128 letters, digits, dots, underscores, colons and hyphens. Another one is
  replaced by one of the service's own.

## Lists

- Rows a page: {query.LIMIT.default} unless said, {query.LIMIT.maximum} at most. Pages: up to number
  {query.PAGE_MAX:,}; a cursor goes on without end.
- Events a page: 100 unless said, {feed.READ_LIMIT_MAX:,} at most; as lines (NDJSON), all unless
  said. A page of filtered events looks through {feed.SCAN_POSITIONS_MAX:,} positions, and
  `next_after` goes on from there.
- Steps of an explanation a page: 100 unless said, 1,000 at most.
- Locations that one SKU's stock is added up over: {stock.LOCATIONS_MAX:,}.
- Users listed, and API keys listed: {users.USERS_LISTED_MAX:,}.
- Clients that follow the log live: {ledger_events.FOLLOWERS_MAX} a process; then 503.

## Commits

- Commands that wait: {default.queue_commands_max:,} a process (`queue_commands_max`); then 503 with
  `Retry-After`. One larger request is let in when nothing else waits.
- Commands in one transaction: {default.group_commands_max:,} (`group_commands_max`). One larger
  request is one transaction all the same.
- Expired reservations whose end one command records: {posting.RELEASES_MAX}. Those left count no
  longer either.

## Access

- A password: 12 to 200 characters.
- A session's token: lasts {credentials.SESSION_LIFETIME.seconds // 3600} hours.
- Failed attempts to sign in, in {auth.WINDOW_S / 60:.0f} minutes and a process:
  {auth.ACCOUNT_ATTEMPTS_MAX} an account and {auth.ADDRESS_ATTEMPTS_MAX} a network address; then 429
  with `Retry-After`.
- A request of the WooCommerce API: {default.woocommerce_items_max:,} items
  (`woocommerce_items_max`). Its log of inbound webhooks: {HEAD_BYTES:,} bytes of each body, kept
  {default.webhook_log_days} days (`webhook_log_days`).
- The usage log of API keys: kept {default.usage_log_days} days (`usage_log_days`), written
  within about {usage.FLUSH_INTERVAL_S:.0f} second. {usage.QUEUE_MAX:,} lines may wait a process;
  more are dropped, and counted.

## Imports

- Order lines to `/api/integrations/v1/ingestion/order-lines`:
  {default.ingestion_body_bytes_max // _MIB} MiB in one request (`ingestion_body_bytes_max`),
  {large_body.LINE_BYTES_MAX // _KIB} KiB a line. They are committed {ingestion.CHUNK_LINES:,} at a
  time; the answer shows the first {ingestion.REFUSALS_SHOWN} that were refused.
- A file: {tables.FILE_BYTES_MAX // _MIB} MiB.
- A CSV: {tables.CSV_ROWS_MAX:,} lines, {tables.COLUMNS_MAX} columns,
  {tables.CELL_CHARACTERS_MAX:,} characters a cell.
- A workbook: {xlsx_worker.ROWS_MAX:,} rows, {xlsx_worker.COLUMNS_MAX} columns,
  {xlsx_worker.UNZIPPED_BYTES_MAX // _GIB} GiB unpacked. The process that reads it may take
  {xlsx_worker.MEMORY_BYTES_MAX // _GIB} GiB of memory and {xlsx_worker.CPU_SECONDS_MAX} seconds of
  processor time.

## Running

- API processes: 1 to 64 (`workers`).
- Requests under way when the service is stopped: have {http_server.DRAIN_S} seconds to end.
"""
