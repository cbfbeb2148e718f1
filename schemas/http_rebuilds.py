"""What is sent and answered about rebuilds of read models."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

RebuildState = Literal["waiting", "running", "done", "failed"]


class RebuildBody(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Which read models to make anew from the log."""

    projections: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=100)] | Literal["all"],
        Meta(description='Their names, or "all"'),
    ]
    replace_different: Annotated[
        bool,
        Meta(
            description="Put the rebuilt tables in place even where they differ from the live ones"
        ),
    ] = False


class RebuiltTableReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one table: rows and position are of your own tenant."""

    table: str
    equal: Annotated[bool, Meta(description="Whether live and rebuilt agreed, of all tenants")]
    tenants_differing: int
    position: Annotated[int, Meta(description="Where in the log the two were compared")]
    rows_live: int
    rows_rebuilt: int


class RebuildReply(msgspec.Struct, frozen=True, kw_only=True):
    """One rebuild, with how far it is."""

    id: int
    projections: list[str]
    replace_different: bool
    state: RebuildState
    step: Annotated[
        str | None, Meta(description="folding, comparing, folding again or swapping")
    ] = None
    events_done: int
    events_total: int | None = None
    events_per_second: int | None = None
    seconds: Annotated[float | None, Meta(description="Since it was begun, until its end")] = None
    swapped: Annotated[
        bool | None, Meta(description="Whether the rebuilt tables are in place; null until the end")
    ] = None
    tables: list[RebuiltTableReply] = []
    reason: Annotated[str | None, Meta(description="Why it failed")] = None
    requested_by: str
    requested_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class RebuildsReply(msgspec.Struct, frozen=True, kw_only=True):
    """The rebuilds that were asked for, the newest first."""

    rebuilds: list[RebuildReply]
    total: int
    page: int
    limit: int
