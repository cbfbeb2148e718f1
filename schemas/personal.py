"""Personal data: how its fields are marked, and what sealing says of a command.

A text that is marked `PERSONAL` is sealed before a command that carries it is decided: in events
and in all that is made of them it is a token, ``sealed:1:<subject>:<ciphertext>``, which only the
subject's key opens.
"""

from typing import Final

from msgspec import Meta

PERSONAL: Final = Meta(extra={"personal": True}, extra_json_schema={"x-personal": True})
"""Marks a field that holds a text about a person."""


class Sealed:
    """What is known of a customer's texts from before they were sealed. No client can send it.

    It is not a struct on purpose: no decoder takes anything for it.
    """

    __slots__ = ("email_key", "email_owner", "fault", "subject")

    def __init__(
        self,
        subject: str,
        *,
        email_key: str | None = None,
        email_owner: int | None = None,
        fault: tuple[str, str] | None = None,
    ) -> None:
        """``subject`` names the key; ``email_key`` stands for the e-mail address where it must be
        unique; ``email_owner`` is who has that address since before texts were sealed; ``fault``
        is a field and what is wrong with its text."""
        self.subject = subject
        self.email_key = email_key
        self.email_owner = email_owner
        self.fault = fault
