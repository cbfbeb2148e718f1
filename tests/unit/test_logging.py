"""Log lines hold only fields that are known to be harmless."""

from deploy.logging import keep_listed


def test_unlisted_field_is_left_out_and_named() -> None:
    """A body or a password passed by an oversight does not get out."""
    line = keep_listed(None, "info", {"event": "request", "status": 200, "body": "{}", "pwd": "x"})
    assert {"event": "request", "status": 200, "withheld": ["body", "pwd"]} == line


def test_listed_fields_pass_unchanged() -> None:
    """Nothing is added where nothing is left out."""
    line = {"event": "request", "request_id": "r-1", "ms": 1.5}
    assert line == keep_listed(None, "info", dict(line))
