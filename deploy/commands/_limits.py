"""The reference page of limits, each figure read from the place that keeps it."""

from typing import Final

from api import (
    auth,
    credentials,
    endpoint,
    explain,
    ingestion,
    large_body,
    ledger_events,
    query,
    reads,
    reply,
    stock,
    table_exports,
    tabular,
    tabular_files,
    tabular_reply,
    usage,
    users,
    writes,
)
from api.house import EXPORTS_MAX
from api.imports import tables, xlsx_worker
from api.webhook_log import HEAD_BYTES
from deploy import charts, http_server
from deploy.settings import Settings
from ledger import feed
from ledger.domain import posting
from projections import explaining, explaining_fold, known_snapshots
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
- `known_at`, `as_of` of lists and reports: up to {known_snapshots.FOLDED_AT_ONCE_MAX:,} events are
  folded within the request. Of more, the moment is prepared first, and kept:
  {known_snapshots.KEPT_MAX} of a tenant, each for {known_snapshots.UNREAD_S // 3600} hours since it
  was last read, or {known_snapshots.IN_USE_S} seconds where another needs the room; else 503.
- `X-Request-ID`: 1 to 128 letters, digits, dots, underscores, colons and hyphens. Another one is
  replaced by one of the service's own.

## Lists

- Rows a page: {query.LIMIT.default} unless said, {query.LIMIT.maximum} at most. Pages: up to number
  {query.PAGE_MAX:,}; a cursor goes on without end.
- Events a page: 100 unless said, {feed.READ_LIMIT_MAX:,} at most, and
  {feed.PAGE_BYTES_MAX // _MIB} MiB of what they say; as lines (NDJSON), all unless said.
  A page of filtered events looks through {feed.SCAN_POSITIONS_MAX:,} positions, and
  `next_after` goes on from there.
- Steps of an explanation a page: 100 unless said, 1,000 at most. Of one of any read model:
  {explain.STEPS_DEFAULT} unless said, {explaining.STEPS_MAX} at most; a page looks through
  {explaining_fold.SCANNED_MAX:,} events, or {explaining_fold.SCANNED_BYTES_MAX // _MIB} MiB of
  them, goes through up to {explaining.WALKED_MAX:,} one by one, and `next_before` goes on from
  there. Events that a request folds for it: {explaining.FOLDED_MAX:,}; `stockledger explain` has
  no such bound. {explain.AT_ONCE_MAX} are made at a time in a process; the others wait.
- Locations that one SKU's stock is added up over: {stock.LOCATIONS_MAX:,}.
- Users listed, and API keys listed: {users.USERS_LISTED_MAX:,}.
- Parquet files that are made: {EXPORTS_MAX} a process at a time; then 503. One may take
  {table_exports.EXPORT_SECONDS_MAX:.0f} seconds. One of the log holds
  {table_exports.EXPORT_EVENTS_MAX:,} events at most; a table is whole.
- Clients that follow the log live: {ledger_events.FOLLOWERS_MAX} a process; then 503. There is a
  comment every {ledger_events.HEARTBEAT_S:.0f} seconds in which nothing happens. Any stream is cut
  off whose client takes no more of it for {reply.STALLED_S:.0f} seconds.

## Tables

- A list or report as CSV or XLSX: {tabular_reply.TABLES_AT_ONCE_MAX} at a time and process; then
  503 with `Retry-After`. Its rows are read {tabular.PAGE_ROWS:,} at a time, those of the past
  {tabular.PAST_PAGE_ROWS:,}, within {tabular_reply.TABLE_SECONDS_MAX:.0f} seconds.
- A CSV that is read more slowly than it is made: {tabular_reply.AHEAD_BYTES_MAX // _MIB} MiB of it
  wait on the disk; then it is made no faster than it is read.
- A sheet of an XLSX: {tabular_files.SHEET_ROWS_MAX - 1:,} rows; a cell:
  {tabular_files.CELL_CHARACTERS_MAX:,} characters. More is refused with 413. Numbers of more than
  {tabular_files.EXACT_DIGITS} digits are text.
- A chart: {charts.POINTS_MAX:,} periods; {charts.LINES_MAX} locations have a line of their own.

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
