"""What the API is handed at wiring: the pool, the committer and a few settings."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from api.customer_search import CustomerSearch
from ledger.committer import GroupReport
from ledger.feed import Feed
from ledger.personal_data import PersonalData
from ledger.store import Pool
from ledger.submission import Reply as CommitReply
from ledger.submission import Submission
from projections.engine import Engine
from projections.webhook_endpoints import Policy
from schemas.http_woocommerce import Rollback

EXPORTS_MAX: Final = 2
"""How many exports an API process makes at a time; each holds a connection, and some memory."""


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
    """The parts behind the API. ``deploy`` makes one; ``now`` is the service's clock, in UTC.

    ``exports`` has ``EXPORTS_MAX`` connections, which yield to those of ``pool``.
    """

    @property
    def pool(self) -> Pool: ...
    @property
    def exports(self) -> Pool: ...
    @property
    def committer(self) -> Submitter: ...
    @property
    def personal(self) -> PersonalData: ...
    @property
    def customer_search(self) -> CustomerSearch: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def group_observers(self) -> list[Callable[[GroupReport], None]]: ...
    @property
    def settings(self) -> ApiSettings: ...
    @property
    def superseded(self) -> bool:
        """Whether another release's read models have been put in place; nothing is served then."""
        ...

    async def look_at_release(self) -> str:
        """Bring ``superseded`` up to date; return which read models are of another release."""
        ...

    def now(self) -> datetime: ...
