"""What went wrong, as WordPress's REST API says it: a code, a message, and the status as data.

The messages begin with the words of seed 004's table of errors, then tell more. A code that
neither that table nor WordPress has is ours with ``rest_`` before it.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from api.problems import Family, Problem, kind_of
from api.reply import JSON, Reply, encode
from schemas.http_woocommerce import WordPressError

NAMESPACE: Final = "/wp-json/mulopimfwc/v1"


class Wording(NamedTuple):
    """How a problem is told: its status, its code, and the words before its detail."""

    status: int
    code: str
    words: str | None = None


_NO_ROUTE: Final = Wording(
    404, "rest_no_route", "No route was found matching the URL and request method."
)
_WORDINGS: Final[Mapping[str, Wording]] = {
    "unauthenticated": Wording(401, "rest_unauthorized", "Unauthorized"),
    "product_not_found": Wording(404, "rest_product_not_found", "Product not found"),
    "location_not_found": Wording(404, "rest_location_not_found", "Location not found"),
    "invalid_stock_value": Wording(400, "rest_invalid_stock_value", "Invalid stock value"),
    "too_many_items": Wording(400, "rest_too_many_items", "Too many items"),
    "parent_has_variations": Wording(409, "rest_parent_has_variations"),
    "not_found": _NO_ROUTE,
    "method_not_allowed": _NO_ROUTE,
    "malformed_body": Wording(400, "rest_invalid_json", "Invalid JSON body passed"),
    "missing_parameter": Wording(400, "rest_missing_callback_param"),
    "invalid_field": Wording(400, "rest_invalid_param"),
    "invalid_parameter": Wording(400, "rest_invalid_param"),
    "invalid_command": Wording(400, "rest_invalid_param"),
    "rolled_back": Wording(409, "rest_rolled_back"),
}
_WEBHOOK_WORDINGS: Final[Mapping[str, Wording]] = {
    **_WORDINGS,
    "unauthenticated": Wording(401, "rest_invalid_webhook_secret", "Invalid webhook secret"),
    "forbidden": Wording(401, "rest_invalid_webhook_secret", "Invalid webhook secret"),
}
_HINTS: Final[Mapping[str, str]] = {
    "rest_unauthorized": "Send the correct X-API-Key header.",
    "rest_invalid_webhook_secret": "Send the correct X-Webhook-Secret header.",
}


class Told(NamedTuple):
    """An error in WordPress's words."""

    status: int
    code: str
    message: str
    data: dict[str, Any]


def told(problem: Problem, wordings: Mapping[str, Wording] = _WORDINGS) -> Told:
    """Return a problem in WordPress's words."""
    status, code, words = wordings.get(problem.code) or _own(problem.code)
    detail = problem.detail
    data: dict[str, Any] = {
        "status": status,
        **{name: value for name, value in problem.members.items() if name != "field"},
    }
    field = problem.members.get("field")
    if code == "rest_no_route":
        return Told(status, code, words or detail, data)
    if code in _HINTS:
        return Told(status, code, f"{words}. {_HINTS[code]}", {**data, "detail": detail})
    if code == "rest_missing_callback_param":
        message = f"Missing parameter(s): {field}. {detail}"
        return Told(status, code, message, {**data, "params": [field]})
    if code == "rest_invalid_param" and field is not None:
        message = f"Invalid parameter(s): {field}. {detail}"
        return Told(status, code, message, {**data, "params": {field: detail}})
    return Told(status, code, detail if words is None else f"{words}. {detail}", data)


def _own(code: str) -> Wording:
    return Wording(kind_of(code).status, f"rest_{code}")


def _family(wordings: Mapping[str, Wording], prefix: str, source: str) -> Family:
    def reply(problem: Problem) -> Reply:
        status, code, message, data = told(problem, wordings)
        body = {"code": code, "message": message, "data": data}
        return Reply(status, encode(body), problem.headers, JSON)

    def status_of(code: str) -> int:
        return (wordings.get(code) or _own(code)).status

    return Family(reply, status_of, WordPressError, JSON.decode(), prefix, source)


ERRORS: Final = _family(_WORDINGS, "/wp-json/", "woocommerce")
"""Of all that is called with an API key, and of what no route takes."""
WEBHOOK_ERRORS: Final = _family(_WEBHOOK_WORDINGS, f"{NAMESPACE}/webhook/", "woocommerce-webhook")
"""Of what is called with a webhook secret."""
