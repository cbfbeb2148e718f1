"""Product categories, which may stand under one another."""

from typing import ClassVar

from schemas.common import Command, Event, Id, Name


class DefineCategory(Command, frozen=True, kw_only=True):
    """Add a category. Its id is counted by the ledger; names are unique under one parent."""

    TYPE: ClassVar[str] = "DefineCategory"
    name: Name
    parent_id: Id | None = None


class ReviseCategory(Command, frozen=True, kw_only=True):
    """Rename a category or put it elsewhere; never under itself."""

    TYPE: ClassVar[str] = "ReviseCategory"
    category_id: Id
    name: Name
    parent_id: Id | None = None


CategoryCommand = DefineCategory | ReviseCategory


class CategoryDefined(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "CategoryDefined"
    category_id: int
    name: str
    parent_id: int | None = None


class CategoryRevised(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "CategoryRevised"
    category_id: int
    name: str
    parent_id: int | None = None


CategoryEvent = CategoryDefined | CategoryRevised
