"""What the ledger's exceptions say by themselves."""

from ledger import errors


def test_the_default_message_is_the_docstring() -> None:
    """In one line, without the part that tells of attributes."""
    assert str(errors.QueueFull(retry_after_s=2)) == (
        "Too many commands are waiting already; nothing was recorded, so try again shortly."
    )
    assert "\n" not in str(errors.OutcomeUnknown())
    assert str(errors.CredentialRevoked("gone")) == "gone"


def test_exceptions_carry_what_the_client_needs() -> None:
    """Each attribute that the contract with the API names."""
    assert errors.QueueFull(retry_after_s=2).retry_after_s == 2
    assert errors.IdempotencyMismatch(differing=["quantity"]).differing == ["quantity"]
    conflict = errors.VersionConflict(expected=3, actual=4)
    assert (conflict.expected, conflict.actual) == (3, 4)
