"""What the API is handed at wiring: the pool, the committer and a few settings."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from ledger.committer import GroupReport
from ledger.feed import Feed
from ledger.store import Pool
from ledger.submission import Reply as CommitReply
from ledger.submission import Submission
from projections.webhook_sending import Policy
from schemas.http_woocommerce import Rollback


class WooCommerceSettings(NamedTuple):
    """How many items a request may have, and what becomes of it where some of them fail."""

    items_max: int
    rollback: Rollback
    rollback_percent: int


class ApiSettings(Protocol):
    """The settings that the API reads.

    ``jwt_secret`` signs sessions (32 characters and more); ``body_bytes_max`` bounds a bulk
    body, ``ingestion_body_bytes_max`` one that is taken in as it arrives, in part by way of a file
    in ``data_dir``; ``bulk_commands_max`` bounds the commands in one; ``access_log`` turns on a
    line a request.
    ``webhooks`` says which addresses webhooks may go to.
    """

    @property
    def jwt_secret(self) -> str | None: ...
    @property
    def body_bytes_max(self) -> int: ...
    @property
    def bulk_commands_max(self) -> int: ...
    @property
    def access_log(self) -> bool: ...
    @property
    def ingestion_body_bytes_max(self) -> int: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def woocommerce(self) -> WooCommerceSettings: ...
    @property
    def webhooks(self) -> Policy: ...


class Submitter(Protocol):
    """The committer, as the API sees it."""

    @property
    def queued_commands(self) -> int: ...

    def submit(self, submission: Submission) -> Awaitable[CommitReply]: ...


class House(Protocol):
    """The parts behind the API. ``deploy`` makes one; ``now`` is the service's clock, in UTC."""

    @property
    def pool(self) -> Pool: ...
    @property
    def committer(self) -> Submitter: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def group_observers(self) -> list[Callable[[GroupReport], None]]: ...
    @property
    def settings(self) -> ApiSettings: ...

    def now(self) -> datetime: ...
