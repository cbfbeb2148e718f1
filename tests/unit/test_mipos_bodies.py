"""miPOS's bodies: whatever is sent is read, or told what is wrong with it, and never more."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from api.dialects.mipos.answers import MIPOS
from api.dialects.mipos.bodies import decoded, plain_json
from api.dialects.mipos.inventory import movement_said
from api.dialects.mipos.sync_body import said_in_part, sync_said
from api.problems import Problem

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1", "1.5", "pos_u1", "", " "]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def objects(*fields: str) -> Any:
    """Return objects that have these fields, or some of them, with anything in them."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(fields, ANYTHING))


IDS = st.sampled_from(["1", "2", " 1", "", "x" * 101]) | ANYTHING


def entries(*fields: str) -> Any:
    """Return lists of objects with fields that often are what they should be."""
    return st.lists(st.fixed_dictionaries(dict.fromkeys(fields, IDS)), min_size=1, max_size=3)


ITEMS = objects(
    "name", "external_id", "purchase_unit_external_id", "consumption_unit_external_id",
    "supplier_external_id", "cost", "stock", "purchase_unit_factor",
)  # fmt: skip
GOOD_ITEM = st.fixed_dictionaries(
    {
        "name": st.just("N"),
        "external_id": st.sampled_from(["1", "2"]),
        "purchase_unit_external_id": st.sampled_from(["1", "2"]),
        "consumption_unit_external_id": st.just("1"),
        "supplier_external_id": st.just("1"),
        "cost": st.sampled_from(["1", "2.50", "999999999999.999999"]),
        "stock": st.sampled_from(["0", "-1", "11.22"]),
    },
    optional={"purchase_unit_factor": st.sampled_from(["12", "1/3", "0.000001", "999999999.9"])},
)
SYNCS = st.fixed_dictionaries(
    {
        "items": st.lists(GOOD_ITEM, min_size=1, max_size=3)
        | st.lists(ITEMS | ANYTHING, max_size=3)
        | ANYTHING,
        "units": st.just([{"name": "U", "short_name": "u", "external_id": n} for n in "12"])
        | entries("name", "short_name", "external_id")
        | ANYTHING,
        "suppliers": st.just([{"name": "S", "external_id": "1"}])
        | entries("name", "external_id")
        | ANYTHING,
        "user_id_tps": st.just("1") | ANYTHING,
        "inventory_system_id": st.just("i") | ANYTHING,
    }
)


def is_in_shape(problem: Problem) -> bool:
    """Tell whether a problem's answer is one of miPOS's shapes, with a status of its own."""
    reply = MIPOS.reply(problem)
    said = json.loads(reply.body)
    if reply.status == 422:
        return all(
            sentences and all(isinstance(each, str) for each in sentences)
            for sentences in said.values()
        )
    return reply.status == 400 and set(said) == {"message", "data"} and said["data"] is None


def outcome(read: Callable[[], Any]) -> Any:
    """Return what is read, or the problem with it."""
    try:
        return read()
    except Problem as problem:
        return problem


@given(SYNCS)
@settings(max_examples=400)
def test_any_synchronisation_is_read_or_told_what_is_wrong(said: dict[str, Any]) -> None:
    body = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")
    read = outcome(lambda: sync_said(body, 3))
    if isinstance(read, Problem):
        assert is_in_shape(read)
        return
    assert len(read.wrong) == len(set(read.wrong))
    if read.wrong:
        assert not read.items
    else:
        assert len(read.items) == len(said["items"])
        # In one go or entry by entry, it is the same.
        assert read == said_in_part(decoded(body), 3)
        made = [read.item(item, 1, None) for item in read.items]
        for command in (*made, *(read.supplier(each, None) for each in read.suppliers)):
            # What is made here is what could have been decoded, bounds and all.
            again = msgspec.json.decode(msgspec.json.encode(command), type=type(command))
            assert again == command


@given(
    objects(
        "user_id_tps", "inventory_system_id", "current_stock", "quantity", "date",
        "movement_type", "external_id", "webhook_type",
    )
)  # fmt: skip
def test_any_movement_is_read_or_told_what_is_wrong(said: dict[str, Any]) -> None:
    read = outcome(lambda: movement_said(said))
    if isinstance(read, Problem):
        assert is_in_shape(read)
        return
    assert read.quantity > 0
    assert read.movement in ("add", "remove")


def synchronisation(*stocks: str) -> bytes:
    item = {
        "name": "N", "purchase_unit_external_id": "u", "consumption_unit_external_id": "u",
        "supplier_external_id": "s", "cost": "1",
    }  # fmt: skip
    said = {
        "items": [{**item, "external_id": str(n), "stock": s} for n, s in enumerate(stocks)],
        "units": [{"name": "Unit", "short_name": "u", "external_id": "u"}],
        "suppliers": [{"name": "S", "external_id": "s"}],
        "user_id_tps": "1",
        "inventory_system_id": "i",
    }
    return json.dumps(said, ensure_ascii=False).encode()


@given(st.lists(st.decimals(-1000, 1000, places=3), min_size=1, max_size=4))
def test_figures_are_exact_and_the_finest_of_them_gives_the_scale(figures: list[Decimal]) -> None:
    texts = [format(figure.normalize(), "f") for figure in figures]
    read = sync_said(synchronisation(*texts), 10)
    assert not read.wrong
    assert [read.item(item, 1, None).quantity for item in read.items] == figures
    assert read.scale == max(len(text.partition(".")[2]) for text in texts)


@pytest.mark.parametrize("text", ["1e3", "１", "1_0", " 1 2", "+", ".5", "5.", "0x1", "NaN", "1,5"])
def test_what_is_no_plain_decimal_is_no_figure(text: str) -> None:
    (sentence,) = sync_said(synchronisation(text), 10).wrong
    assert sentence == f"The item stock ({text.strip()}) must be a number."


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"cost": "1"', '"cost": "9", "cost": "1"'),
        ('"name": "S"', '"name": "x", "name": "S"'),
        ('"user_id_tps"', '"user_id_tps": "2", "user_id_tps"'),
        ('"stock"', '"st\\u006fck": "5", "stock"'),
    ],
)
def test_a_key_that_is_given_twice_is_refused_however_it_is_read(before: str, after: str) -> None:
    body = synchronisation("1", "2").decode()
    with pytest.raises(Problem, match="given twice"):
        sync_said(body.replace(before, after, 1).encode(), 10)


@pytest.mark.parametrize("text", ["cost", "né", "a b", "item"])
def test_texts_that_look_like_keys_are_texts(text: str) -> None:
    body = synchronisation("1").replace(b'"N"', f'"{text}"'.encode())
    read = sync_said(body, 10)
    assert [item.name for item in read.items] == [text]
    assert read == said_in_part(decoded(body), 10)


# --- JSON with comments -------------------------------------------------------------------

BLANKS = st.sampled_from(["", " ", "\n", "// a // b\n", "/* ,]} */", "/**/", '// "\n', '/*"*/'])


def with_comments(value: Any, draw: Any) -> str:
    """Return JSON with comments wherever there may be some, and commas behind the last."""
    if isinstance(value, dict):
        parts = [f"{draw(BLANKS)}{json.dumps(k)}{draw(BLANKS)}:{with_comments(v, draw)}"
                 for k, v in value.items()]  # fmt: skip
        ends = "{}"
    elif isinstance(value, list):
        parts, ends = [with_comments(each, draw) for each in value], "[]"
    else:
        return f"{draw(BLANKS)}{json.dumps(value)}{draw(BLANKS)}"
    last = "," + draw(BLANKS) if parts and draw(st.booleans()) else ""
    return f"{draw(BLANKS)}{ends[0]}{','.join(parts)}{last}{draw(BLANKS)}{ends[1]}{draw(BLANKS)}"


@given(st.dictionaries(st.text(max_size=5), ANYTHING, max_size=3), st.data())
def test_comments_and_last_commas_change_nothing(value: dict[str, Any], data: Any) -> None:
    assume("NaN" not in json.dumps(value))
    assume("Infinity" not in json.dumps(value))
    assert json.loads(plain_json(with_comments(value, data.draw).encode())) == value


@given(st.binary(max_size=60) | st.text('"/*,]}[{\\ a\n', max_size=40).map(str.encode))
def test_whatever_comes_is_json_or_refused(body: bytes) -> None:
    read = outcome(lambda: decoded(plain_json(body)))
    assert not isinstance(read, Problem) or is_in_shape(read)


@pytest.mark.parametrize("part", [b"/*", b'"', b'"\\', b"//", b",", b"[,", b"/"])
def test_a_long_body_is_read_in_one_go(part: bytes) -> None:
    """64 KiB of any of these takes no more than a glance; twice as much, twice as long."""
    plain_json(part * (65_536 // len(part)))


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(Problem, match="given twice"):
        decoded(b'{"url": "a", "url": "b"}')
