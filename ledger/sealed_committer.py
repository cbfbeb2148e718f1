"""Where personal texts are sealed: the one door that every command goes through.

What stands behind it, the committer, the log and all read models, never sees one. A command of a
type without personal texts, and one in which there are none, goes on as it came.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ledger.aliases import CUSTOMER_EMAIL, fold
from ledger.committer import Committer
from ledger.domain import registry
from ledger.domain.customer import fault_of
from ledger.errors import LedgerError, LedgerUnavailable, OutcomeUnknown
from ledger.idempotency import canonical
from ledger.personal_data import PersonalData, destroy
from ledger.ports import InlineProjections
from ledger.sealing import (
    KeyLost,
    Marks,
    MasterKeyRetired,
    SubjectKey,
    keyed_digest,
    marks_of,
    texts_of,
    with_texts,
)
from ledger.store import Connection, tenant_transaction
from ledger.submission import Idempotency, Item, Reply, Submission
from schemas.common import Command
from schemas.customer import AddCustomerAddress, RegisterCustomer, ReviseCustomer
from schemas.order import PlaceOrder
from schemas.personal import Sealed

_ATTEMPTS: Final = 3
_REFUSED: Final = 400

PERSONAL_COMMANDS: Final[Mapping[type[Command], Marks]] = {
    command_type: marks
    for command_type in registry.COMMANDS.values()
    if (marks := marks_of(command_type))
}
"""The types of commands that may carry personal texts, and where they do."""

_RETRY_LATER: Final = (
    "Personal data cannot be sealed: the master key that opens this tenant's keys is missing. "
    "Nothing was recorded."
)


def is_personal(command: Command) -> bool:
    """Tell whether a command carries a personal text."""
    marks = PERSONAL_COMMANDS.get(type(command), ())
    # Most of those that may carry one carry none: an order without an address and remarks.
    for name, _ in marks:
        if getattr(command, name) is not None:
            return next(iter(texts_of(command, marks)), None) is not None
    return False


class SealedCommitter:
    """The committer behind the door. Submissions with personal texts are sealed on their way."""

    def __init__(
        self, committer: Committer, personal: PersonalData, projections: InlineProjections
    ) -> None:
        """``behind`` is the committer itself: what it is given goes into the log as it is."""
        self.behind = committer
        self._personal = personal
        self._projections = projections

    @property
    def queued_commands(self) -> int:
        """How many commands wait."""
        return self.behind.queued_commands

    async def submit(self, submission: Submission) -> Reply:
        """Seal what is personal in a submission, and submit it; see `Committer.submit`.

        Raise LedgerUnavailable where the keys cannot be made or opened.
        """
        for item in submission.items:
            if type(item.command) in PERSONAL_COMMANDS and is_personal(item.command):
                return await self._submit_sealed(submission)
        return await self.behind.submit(submission)

    async def close(self) -> None:
        """Commit what waits, and stop."""
        await self.behind.close()

    async def _submit_sealed(self, submission: Submission) -> Reply:
        sealed, new = await self._sealed(submission)
        try:
            reply = await self.behind.submit(sealed)
        except OutcomeUnknown:
            raise
        except LedgerError:
            await self._unused(submission.tenant_id, new)
            raise
        if reply.replayed or (submission.atomic and reply.status >= _REFUSED):
            await self._unused(submission.tenant_id, new)
        return reply

    async def _unused(self, tenant_id: int, subjects: Sequence[str]) -> None:
        """Destroy keys that nothing was sealed with which has been recorded.

        Where that fails, or an item of several was refused, a key is left that opens nothing.
        """
        if subjects:
            async with tenant_transaction(self._personal.pool, tenant_id) as connection:
                await destroy(connection, tenant_id, subjects)

    async def _sealed(self, submission: Submission) -> tuple[Submission, list[str]]:
        """Return a submission with its texts sealed, and the subjects that are new with it."""
        tenant_id = submission.tenant_id
        personal = [item.command for item in submission.items if is_personal(item.command)]
        for _ in range(_ATTEMPTS):
            try:
                tenant_key = await self._personal.tenant_key(tenant_id)
                async with tenant_transaction(self._personal.pool, tenant_id) as connection:
                    keys, new = await self._keys_for(connection, tenant_id, personal)
                    emails = await self._emails_of(connection, tenant_id, tenant_key, personal)
                break
            except MasterKeyRetired:
                continue
            except KeyLost as error:
                raise LedgerUnavailable(_RETRY_LATER) from error
        else:
            raise LedgerUnavailable(_RETRY_LATER)
        secret = keyed_digest(tenant_key, b"requests")
        given = iter(keys)
        items: list[Item] = []
        for item in submission.items:
            if is_personal(item.command):
                sealed = _sealed_command(item.command, *next(given), emails)
                items.append(Item(sealed, _private(item.idempotency, secret)))
            else:
                items.append(item)
        private = _private(submission.idempotency, secret)
        return msgspec.structs.replace(submission, items=items, idempotency=private), new

    async def _keys_for(
        self, connection: Connection, tenant_id: int, commands: Sequence[Command]
    ) -> tuple[list[tuple[str, SubjectKey]], list[str]]:
        """Return subject and key of each command, and the subjects that were made for them."""
        whose = [_customer_or_order(command) for command in commands]
        subjects = await self._projections.subjects_of(
            connection,
            tenant_id,
            [number for kind, number in whose if kind == "customer"],
            [number for kind, number in whose if kind == "order"],
        )
        known = {"customer": subjects[0], "order": subjects[1]}
        named = {known[kind][number] for kind, number in whose if number in known.get(kind, ())}
        open_keys = await self._personal.keys_at(connection, tenant_id, named) if named else {}
        found: dict[tuple[str, int], tuple[str, SubjectKey]] = {}
        for kind, number in whose:
            subject = known.get(kind, {}).get(number)
            key = None if subject is None else open_keys.get(subject)
            if subject is not None and key is not None:
                found[kind, number] = subject, key
        # One for each customer or order that has none, and one for each command of neither.
        without = [name for name in whose if name not in found]
        alone = sum(name == _NOBODY for name in without)
        missing = list(dict.fromkeys(name for name in without if name != _NOBODY))
        made: list[tuple[str, SubjectKey]] = []
        if missing or alone:
            made = await self._personal.new_keys(connection, tenant_id, len(missing) + alone)
        found.update(zip(missing, made, strict=False))
        rest = iter(made[len(missing) :])
        keys = [next(rest) if name == _NOBODY else found[name] for name in whose]
        return keys, [subject for subject, _ in made]

    async def _emails_of(
        self, connection: Connection, tenant_id: int, tenant_key: bytes, commands: Iterable[Command]
    ) -> "_Emails":
        emails = {
            fold(command.email)
            for command in commands
            if isinstance(command, RegisterCustomer | ReviseCustomer)
            and command.email
            and fault_of(command) is None
            and fold(command.email)
        }
        if not emails:
            return _Emails({}, {})
        names = await self._personal.name_emails(connection, tenant_id, tenant_key, sorted(emails))
        owners = await self._projections.find_aliases(
            connection, tenant_id, [(CUSTOMER_EMAIL, email) for email in emails]
        )
        return _Emails(names, {alias[1]: owner for alias, owner in owners.items()})


class _Emails:
    """What stands for e-mail addresses, and who has one since before they were sealed."""

    def __init__(self, names: Mapping[str, str], owners: Mapping[str, int]) -> None:
        self.names = names
        self.owners = owners


_NOBODY: Final = ("", 0)


def _customer_or_order(command: Command) -> tuple[str, int]:
    """Return whom a command's texts are about, by kind and id: one known, or nobody yet."""
    match command:
        case ReviseCustomer() | AddCustomerAddress():
            return "customer", command.customer_id
        case PlaceOrder(customer_id=int(customer_id)):
            return "customer", customer_id
        case RegisterCustomer() | PlaceOrder():
            return _NOBODY
        case _:
            order_id: int = getattr(command, "order_id", 0)
            return "order", order_id


def _sealed_command(command: Any, subject: str, key: SubjectKey, emails: _Emails) -> Command:
    marks = PERSONAL_COMMANDS[type(command)]
    if not isinstance(command, RegisterCustomer | ReviseCustomer):
        return with_texts(command, marks, key.seal)
    email = (command.email or "").strip() or None
    fault = fault_of(command)
    command = with_texts(msgspec.structs.replace(command, email=email), marks, key.seal)
    folded = fold(email or "")
    said = Sealed(
        subject,
        email_key=emails.names.get(folded),
        email_owner=emails.owners.get(folded),
        fault=fault,
    )
    return msgspec.structs.replace(command, sealed=said)


def _private(idempotency: Idempotency | None, secret: bytes) -> Idempotency | None:
    """Return what a key stands for without anything to read or to guess a personal text from."""
    if idempotency is None:
        return None
    line, _, body = idempotency.request.partition(b"\n")
    return Idempotency(idempotency.key, line + b"\n" + canonical(body), secret)
