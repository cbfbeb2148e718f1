"""Categories of products: a forest, in which nothing ever stands under itself.

Where a category stands is its own fact, so what stands above it is known only by going up, one
stream a level. That is bounded: nothing is put below level `DEPTH_MAX`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.aliases import CATEGORY, category_key
from ledger.domain.decision import (
    Alias,
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    NewEvent,
    RecordedEvent,
    Refs,
    Refusal,
    State,
)
from ledger.domain.refusals_customers import (
    CategoryNameTaken,
    CategoryNotFound,
    CategoryTooDeep,
    CategoryUnderItself,
)
from schemas.category import (
    CategoryCommand,
    CategoryDefined,
    CategoryRevised,
    DefineCategory,
)

DEPTH_MAX: Final = 20
"""The deepest level that something is put at; a category without a parent is at level 1."""


def stream(category_id: int) -> str:
    """Return the name of a category's stream."""
    return f"category-{category_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class CategoryState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of a category; ``category_id`` 0 is one that was never defined."""

    category_id: int = 0
    name: str = ""
    parent_id: int | None = None


INITIAL: Final = CategoryState()


def evolve(state: CategoryState, recorded: RecordedEvent) -> CategoryState:
    """Return the state after an event."""
    event = recorded.event
    if not isinstance(event, CategoryDefined | CategoryRevised):
        raise TypeError(f"a category has no {type(event).__name__}")
    return CategoryState(category_id=event.category_id, name=event.name, parent_id=event.parent_id)


# --- decisions --------------------------------------------------------------------------


class CategoryDecider(Decider):
    """The decider of categories."""

    def allocates(self, command: CategoryCommand) -> str | None:
        """Defining counts an id."""
        return "category" if isinstance(command, DefineCategory) else None

    def aliases(self, command: CategoryCommand) -> Sequence[Alias]:
        """The name under its parent, which must be free."""
        return ((CATEGORY, category_key(command.parent_id, command.name)),)

    def streams(self, command: CategoryCommand, refs: Refs) -> Sequence[str]:
        """The category's own, and its parent's."""
        own = stream(_id(command, refs))
        return (own,) if command.parent_id is None else (own, stream(command.parent_id))

    def more_streams(
        self, command: CategoryCommand, refs: Refs, states: Mapping[str, State]
    ) -> Sequence[str]:
        """Those that stand above the parent, as far as these states tell of them."""
        return [stream(category_id) for category_id in _above(command, states)]

    def decide(
        self, command: CategoryCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it says nothing new, or a refusal.

        Refusals: InvalidCommand, CategoryNotFound, CategoryUnderItself, CategoryTooDeep,
        CategoryNameTaken.
        """
        category_id = _id(command, refs)
        name = stream(category_id)
        state: CategoryState = states[name]
        if not isinstance(command, DefineCategory) and not state.category_id:
            return CategoryNotFound(category_id=category_id)
        refusal = _refusal(command, category_id, states, facts)
        if refusal is not None:
            return refusal
        said: dict[str, Any] = {"name": command.name, "parent_id": command.parent_id}
        if isinstance(command, DefineCategory):
            return [NewEvent(name, CategoryDefined(category_id=category_id, **said))]
        if (state.name, state.parent_id) == (command.name, command.parent_id):
            return []
        return [NewEvent(name, CategoryRevised(category_id=category_id, **said))]


DECIDER: Final = CategoryDecider()


def _id(command: CategoryCommand, refs: Refs) -> int:
    return refs.new_id if isinstance(command, DefineCategory) else command.category_id


def _above(command: CategoryCommand, states: Mapping[str, State]) -> list[int]:
    """Return what the category is to stand under, from its parent upwards: `DEPTH_MAX` at most.

    The last of them may not be in ``states``; then there may be more above it.
    """
    found: list[int] = []
    next_id = command.parent_id
    while next_id is not None and len(found) < DEPTH_MAX:
        found.append(next_id)
        state: CategoryState | None = states.get(stream(next_id))
        next_id = None if state is None else state.parent_id
    return found


def _refusal(
    command: CategoryCommand, category_id: int, states: Mapping[str, State], facts: Facts
) -> Refusal | None:
    if not command.name.strip():
        return InvalidCommand(field="name", fault="must not be blank; give the category a name")
    if command.parent_id is not None:
        parent: CategoryState = states[stream(command.parent_id)]
        if not parent.category_id:
            return CategoryNotFound(category_id=command.parent_id)
        above = _above(command, states)
        if category_id in above:
            return CategoryUnderItself(category_id=category_id, parent_id=command.parent_id)
        if len(above) >= DEPTH_MAX:
            return CategoryTooDeep(parent_id=command.parent_id, maximum=DEPTH_MAX)
    owner = facts.aliases.get((CATEGORY, category_key(command.parent_id, command.name)))
    if owner is not None and owner != category_id:
        return CategoryNameTaken(
            category=command.name, category_id=owner, parent_id=command.parent_id
        )
    return None
