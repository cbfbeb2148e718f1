"""Pages of a list, as WordPress counts them."""

from typing import Final

from api.query import PAGE as PAGE
from api.query import Parameter
from api.reply import Headers

PER_PAGE: Final = Parameter("per_page", "integer", "Results per page", 100, 1, 1_000)


def pages(total: int, per_page: int) -> int:
    """Return how many pages there are."""
    return -(-total // per_page)


def total_headers(total: int, per_page: int) -> Headers:
    """Return the headers that WordPress tells the totals in."""
    return [
        (b"x-wp-total", b"%d" % total),
        (b"x-wp-totalpages", b"%d" % pages(total, per_page)),
    ]
