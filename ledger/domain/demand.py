"""Demand: what customers wanted in the past, taken in by batches. It moves no stock.

Its commands and events belong to the streams of ingestion batches; see `import_batch`.
"""

from collections.abc import Mapping
from typing import Final

from ledger.aliases import SKU, fold
from ledger.domain import product
from ledger.domain.decision import (
    Decision,
    InvalidCommand,
    Names,
    NewEvent,
    ProductNotFound,
    Refs,
    State,
)
from ledger.domain.import_batch_state import ImportBatchState, chunk_refusal, stream
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.refusals import ImportBatchConflict
from ledger.domain.refusals_ingestion import ImportBatchIsReversed, NotADemandBatch
from schemas.demand import (
    DemandEntry,
    DemandLine,
    DemandRecorded,
    ImportBatchReversed,
    RecordDemandChunk,
    ReverseImportBatch,
)
from schemas.import_batch import LineRefusal

KIND: Final = "demand"
REFUSAL_LENGTH_MAX: Final = 200
_UNKNOWN: Final = 0
_NOT_EXACT: Final = "quantity_not_in_scale"


def resolve(command: RecordDemandChunk, names: Names) -> Refs:
    """Return the products that the lines name, in their order, 0 for one that is not known."""
    keys = [(SKU, fold(entry.sku)) for entry in command.lines]
    found = names.find_aliases(list(dict.fromkeys(keys)))
    return Refs(products=tuple(found[key] or _UNKNOWN for key in keys))


def product_streams(refs: Refs) -> list[str]:
    """Return the streams of the products that the lines name, each once."""
    return [product.stream(each) for each in dict.fromkeys(refs.products) if each != _UNKNOWN]


def record(
    command: RecordDemandChunk, refs: Refs, state: ImportBatchState, states: Mapping[str, State]
) -> Decision:
    """Accept the lines of known products whose quantity is exact in the product's scale.

    Each other line is refused for itself. The chunk as a whole is refused as one of any batch
    is (`chunk_refusal`), and where the batch is of another kind or was reversed.
    """
    if state.kind != KIND:
        return ImportBatchConflict(batch_id=command.batch_id, field="kind")
    refusal = chunk_refusal(command, state, len(command.lines) + len(command.refusals))
    if refusal is not None:
        return refusal
    if state.is_reversed:
        return ImportBatchIsReversed(batch_id=command.batch_id)
    accepted: list[DemandLine] = []
    refused = list(command.refusals)
    for entry, product_id in zip(command.lines, refs.products, strict=True):
        if product_id == _UNKNOWN:
            unknown = ProductNotFound(sku=entry.sku)
            refused.append(_refused(entry, unknown.CODE, unknown.detail()))
            continue
        known: ProductState = states[product.stream(product_id)]
        quantity = in_own_unit(known, entry.quantity, None)
        if isinstance(quantity, InvalidCommand):
            refused.append(_refused(entry, _NOT_EXACT, quantity.detail()))
            continue
        accepted.append(
            DemandLine(
                line=entry.line,
                product_id=product_id,
                quantity=quantity,
                order_date=entry.order_date,
                period=entry.period,
            )
        )
    return [
        NewEvent(
            stream(command.batch_id),
            DemandRecorded(
                batch_id=command.batch_id,
                chunk=command.chunk,
                first_line=command.first_line,
                last_line=command.last_line,
                digest=command.digest,
                lines=tuple(accepted),
                refusals=tuple(sorted(refused, key=lambda each: each.line)),
            ),
        )
    ]


def _refused(entry: DemandEntry, code: str, detail: str) -> LineRefusal:
    return LineRefusal(line=entry.line, code=code, detail=detail[:REFUSAL_LENGTH_MAX])


def reverse(command: ReverseImportBatch, state: ImportBatchState) -> Decision:
    """Take back all that a batch of demand recorded; one that is still open takes no more.

    Reversed already: nothing to do. Refusals: NotADemandBatch, since what other batches took in
    are movements, orders and records, which are undone each by itself.
    """
    if state.kind != KIND:
        return NotADemandBatch(batch_id=command.batch_id, kind=state.kind)
    if state.is_reversed:
        return []
    event = ImportBatchReversed(batch_id=command.batch_id, reason=command.reason)
    return [NewEvent(stream(command.batch_id), event)]
