"""Whatever is asked for, categories stay a forest (`ledger.domain.product_category`)."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.decision import Refusal
from ledger.domain.product_category import DEPTH_MAX
from schemas.category import DefineCategory, ReviseCategory
from tests.support.decisions import World

IDS = st.integers(1, 12)
NAMES = st.sampled_from("abcdefghijkl")
COMMANDS = st.lists(
    st.one_of(
        st.builds(DefineCategory, name=NAMES, parent_id=st.none() | IDS),
        st.builds(ReviseCategory, category_id=IDS, name=NAMES, parent_id=st.none() | IDS),
    ),
    max_size=60,
)


def parents(world: World) -> dict[int, int | None]:
    """Return each category's parent."""
    return {
        state.category_id: state.parent_id
        for name, state in world.states.items()
        if name.startswith("category-") and state.category_id
    }


def path(forest: dict[int, int | None], category_id: int) -> list[int]:
    """Return a category and what stands above it, no further than to where it would repeat."""
    found: list[int] = []
    at: int | None = category_id
    while at is not None and at not in found:
        found.append(at)
        at = forest[at]
    return [*found, at] if at is not None else found


@given(COMMANDS)
@settings(max_examples=200)
def test_there_is_never_a_cycle_and_names_are_unique_under_a_parent(commands: list[Any]) -> None:
    """And a move is refused as one under itself exactly when it would make a cycle."""
    world = World()
    for command in commands:
        before = parents(world)
        outcome = world.do(command)
        if isinstance(command, ReviseCategory) and command.category_id in before:
            below = command.parent_id in before and command.category_id in path(
                before, command.parent_id
            )
            refused = isinstance(outcome, Refusal) and outcome.CODE == "category_under_itself"
            assert refused == below
        forest = parents(world)
        for category_id in forest:
            above = path(forest, category_id)
            assert len(set(above)) == len(above)
        names = [
            (state.parent_id, state.name)
            for name, state in world.states.items()
            if name.startswith("category-") and state.category_id
        ]
        assert len(set(names)) == len(names)


@given(st.integers(1, DEPTH_MAX), st.data())
@settings(max_examples=30)
def test_no_length_of_chain_hides_a_cycle(length: int, data: st.DataObject) -> None:
    """The first of a chain goes under none of the others, however far down."""
    world = World()
    for number in range(length):
        world.given(DefineCategory(name=str(number), parent_id=number or None))
    top = data.draw(st.integers(1, length))
    below = data.draw(st.integers(top, length))
    outcome = world.do(ReviseCategory(category_id=top, name="moved", parent_id=below))
    assert isinstance(outcome, Refusal)
    assert outcome.CODE == "category_under_itself"
