"""What the load generator sends: each kind of request as a function that gives the next one.

A request is built with one ``%`` from parts made beforehand, so that making it costs about a
microsecond. Every request carries an API key and an Idempotency-Key of its own, whether the
server at the other end looks at them or not, so that all servers get the same bytes.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

NextRequest = Callable[[], bytes | None]
"""Gives the next request, or None when there is nothing more to send."""

BULK_COMMANDS = 1_000
SEED_QUANTITY = 1_000_000


def sku(number: int) -> str:
    """Return the SKU of the product that is registered as number ``number`` (from 1)."""
    return f"BENCH-{number:07d}"


# How an API has a thousand figures: what stands before them, each one, and what stands behind.
_SHAPES: Mapping[str, tuple[bytes, bytes, bytes]] = {
    "native": (
        b'{"mode":"atomic","commands":[',
        (
            b'{"type":"SetStock","data":{"sku":"%(sku)s","location":"%(location)s",'
            b'"quantity":%(quantity)s}}'
        ),
        b"]}",
    ),
    "woocommerce": (
        b'{"items":[',
        b'{"sku":"%(sku)s","location_slug":"%(location)s","stock":%(quantity)s}',
        b"]}",
    ),
    "mipos": (
        b'{"user_id_tps":"%(owner)s","inventory_system_id":"%(system)s","items":[',
        (
            b'{"name":"Item %(sku)s","external_id":"%(sku)s","purchase_unit_external_id":"u",'
            b'"consumption_unit_external_id":"u","supplier_external_id":"s","cost":"1.25",'
            b'"stock":"%(quantity)s"}'
        ),
        (
            b'],"units":[{"name":"Unit","short_name":"u","external_id":"u"}],'
            b'"suppliers":[{"name":"Supplier","external_id":"s"}]}'
        ),
    ),
    "mihwar": (
        b'{"periodKind":"day","lines":[',
        b'{"sku":"%(sku)s","quantity":%(quantity)s,"orderDate":"2026-03-04"}',
        b"]}",
    ),
}


class Traffic:
    """Makes requests for one server. ``run`` sets this run's idempotency keys apart."""

    def __init__(self, *, api_key: str, run: str, seed: int = 1) -> None:
        self._head = (
            f"Host: 127.0.0.1\r\nX-API-Key: {api_key}\r\nAccept: application/json\r\n"
        ).encode()
        self._run = run.encode()
        self._sent = 0
        self._random = random.Random(seed)

    def of(self, kind: str, options: Mapping[str, Any]) -> NextRequest:
        """Return the function behind a kind of request: one of this class's public methods."""
        return getattr(self, kind)(**options)

    def adjust(self, *, path: str, products: int, location_id: int, first: int = 1) -> NextRequest:
        """One adjustment a request, of a product picked at random among ``products``."""
        head = self._post(path)
        pick, run = self._random.random, self._run

        def next_request() -> bytes:
            number = self._sent = self._sent + 1
            product_id = first + int(pick() * products)
            body = b'{"product_id":%d,"warehouse_id":%d,"quantity":%d}' % (
                product_id,
                location_id,
                number % 9 + 1 if number & 1 else -(number % 5) - 1,
            )
            return head % (run, number, len(body), body)

        return next_request

    def order(self, *, path: str, products: int, location_id: int) -> NextRequest:
        """One order of three lines a request, of products picked at random."""
        head = self._post(path)
        pick, run = self._random.random, self._run
        line = b'{"product_id":%d,"quantity":1,"unit_price":9.99}'

        def next_request() -> bytes:
            number = self._sent = self._sent + 1
            first, second, third = (line % (1 + int(pick() * products)) for _ in range(3))
            body = b'{"warehouse_id":%d,"channel":"api","items":[%s,%s,%s]}' % (
                location_id, first, second, third,
            )  # fmt: skip
            return head % (run, number, len(body), body)

        return next_request

    def bulk(
        self,
        *,
        path: str,
        products: int,
        location: str,
        first: int = 1,
        in_turn: bool = False,
        movements: int | None = None,
    ) -> NextRequest:
        """A thousand adjustments a request, of products picked at random, or one after another.

        It ends after ``movements``, where given.
        """
        head = self._post(path)
        pick, run = self._random.random, self._run
        left = movements
        place = location.encode()
        turn = 0

        def command(product: int, quantity: int) -> bytes:
            return b'{"type":"AdjustStock","data":{"sku":"%s","location":"%s","quantity":%d}}' % (
                sku(product).encode(),
                place,
                quantity,
            )

        def next_request() -> bytes | None:
            nonlocal left, turn
            count = BULK_COMMANDS if left is None else min(BULK_COMMANDS, left)
            if count == 0:
                return None
            if left is not None:
                left -= count
            self._sent += 1
            if in_turn:
                chosen = [first + (turn + n) % products for n in range(count)]
                turn += count
                commands = [command(product, SEED_QUANTITY) for product in chosen]
            else:
                commands = [
                    command(first + int(pick() * products), n % 9 + 1 if n & 1 else -(n % 5) - 1)
                    for n in range(count)
                ]
            body = b'{"mode":"atomic","commands":[%s]}' % b",".join(commands)
            return head % (run, self._sent, len(body), body)

        return next_request

    def figures(
        self,
        *,
        path: str,
        shape: str,
        products: int,
        filled_in: Mapping[str, str] | None = None,
        requests: int | None = None,
    ) -> NextRequest:
        """A thousand absolute figures a request, one product after another.

        ``shape`` says how one API or another has them; ``filled_in`` are values that it needs. It
        ends after so many ``requests``, where given.
        """
        before, line, after = _SHAPES[shape]
        given = {name.encode(): text.encode() for name, text in (filled_in or {}).items()}
        before, after = before % given, after % given
        head, pick, run = self._post(path), self._random.random, self._run
        turn = 0

        def next_request() -> bytes | None:
            nonlocal turn
            if turn == (requests or -1) * BULK_COMMANDS:
                return None
            number = self._sent = self._sent + 1
            lines = [
                line
                % {
                    b"sku": sku(1 + (turn + n) % products).encode(),
                    b"quantity": b"%d" % (1 + pick() * SEED_QUANTITY),
                    **given,
                }
                for n in range(BULK_COMMANDS)
            ]
            turn += BULK_COMMANDS
            body = before + b",".join(lines) + after
            return head % (run, number, len(body), body)

        return next_request

    def register(self, *, path: str, products: int, first: int = 1) -> NextRequest:
        """A thousand new products a request, until there are ``products``."""
        head = self._post(path)
        numbers = iter(range(first, first + products))

        def commands() -> Iterator[bytes]:
            for number in numbers:
                yield (
                    b'{"type":"RegisterProduct","data":{"sku":"%s","name":"Product %d",'
                    b'"base_price":"9.99"}}' % (sku(number).encode(), number)
                )

        waiting = commands()

        def next_request() -> bytes | None:
            batch = list(islice(waiting, BULK_COMMANDS))
            if not batch:
                return None
            self._sent += 1
            body = b'{"mode":"atomic","commands":[%s]}' % b",".join(batch)
            return head % (self._run, self._sent, len(body), body)

        return next_request

    def read(self, *, path: str, products: int, first: int = 1) -> NextRequest:
        """A read; ``{sku}`` and ``{product_id}`` in the path are of a product picked at random."""
        head = b"GET %s HTTP/1.1\r\n" + self._head + b"\r\n"
        pick = self._random.random

        def next_request() -> bytes:
            number = first + int(pick() * products)
            return head % path.format(sku=sku(number), product_id=number).encode()

        return next_request

    def _post(self, path: str) -> bytes:
        return (
            b"POST "
            + path.encode()
            + b" HTTP/1.1\r\n"
            + self._head
            + b"Content-Type: application/json\r\nIdempotency-Key: %s-%08x\r\n"
            + b"Content-Length: %d\r\n\r\n%s"
        )
