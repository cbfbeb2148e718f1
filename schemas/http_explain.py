"""HTTP replies that explain the read models: their tables, the steps to a figure, differences."""

from datetime import datetime
from typing import Any

import msgspec


class ReadModelColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column: its type as the database has it, and what it holds, where that is told."""

    name: str
    type: str
    description: str | None


class ReadModel(msgspec.Struct, frozen=True, kw_only=True):
    """A table that can be explained.

    ``key`` names a row; with a part of it, the columns in ``summed`` are added up. One of a
    projection that follows the log may be behind it for a moment; an explanation never is.
    """

    table: str
    projection: str
    follows: bool
    description: str
    key: list[str]
    summed: list[str]
    columns: list[ReadModelColumn]


class ReadModelsReply(msgspec.Struct, frozen=True, kw_only=True):
    read_models: list[ReadModel]
    total: int


class FigureChange(msgspec.Struct, frozen=True, kw_only=True):
    """A column's value before and after; null where there was no row."""

    column: str
    before: Any
    after: Any


class ExplanationStep(msgspec.Struct, frozen=True, kw_only=True):
    """One event, what it changed, and the whole figure after it (null: the row is gone)."""

    position: int
    stream: str
    version: int
    type: str
    effective_at: datetime
    recorded_at: datetime
    actor: str | None
    actor_name: str | None
    source: str | None
    data: dict[str, Any]
    changes: list[FigureChange]
    after: dict[str, Any] | None


class ExplanationReply(msgspec.Struct, frozen=True, kw_only=True):
    """``figure`` is what the newest step led to, ``brought_forward`` what the oldest one found.

    Each is a row of the table, or the sums and the number of ``rows``; null where there is no
    row. ``next_before`` leads to older steps; null when these are all.
    """

    table: str
    key: dict[str, Any]
    as_of: datetime | None
    known_position: int
    figure: dict[str, Any] | None
    brought_forward: dict[str, Any] | None
    steps: list[ExplanationStep]
    next_before: int | None


class RowDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not the same: ``before`` is null for one added, ``after`` for one removed."""

    key: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changes: list[FigureChange]


class DifferenceReply(msgspec.Struct, frozen=True, kw_only=True):
    """A figure at two positions, the rows that differ, and the events between that changed it.

    ``rows`` are a page of those that differ, of which there are ``total``: ``added``, ``removed``
    and ``changed``. ``steps`` are the newest; ``next_before`` leads to older ones. There are none
    where nothing of the key is given.
    """

    table: str
    key: dict[str, Any]
    as_of: datetime | None
    from_position: int
    to_position: int
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changes: list[FigureChange]
    added: int
    removed: int
    changed: int
    rows: list[RowDifference]
    page: int
    limit: int
    total: int
    steps: list[ExplanationStep]
    next_before: int | None
