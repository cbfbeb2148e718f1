"""A group of submissions on its way into one transaction: decided in order, in memory.

Each command sees the effects of those before it. Nothing here writes to the database; it only
reads what the decisions need and the working set does not hold.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

import msgspec

from ledger import store
from ledger.domain import registry
from ledger.domain.decision import (
    Alias,
    Decider,
    Facts,
    Lookup,
    Refs,
    Refusal,
)
from ledger.draft import Draft, Unread
from ledger.errors import CredentialRevoked, IdempotencyMismatch, VersionConflict
from ledger.group_reads import GroupReads, with_lookups
from ledger.idempotency import keep, replay
from ledger.ports import InlineProjections
from ledger.resolution import Resolver, aliases_named, resolver_for
from ledger.session import Session
from ledger.store import Credential, IdempotencyRow
from ledger.submission import Idempotency, Item, Outcome, Reply, Submission
from ledger.working_set import WorkingSet
from schemas.common import Command

LOADS_PER_COMMAND_MAX = 32
STREAMS_ASKED_MAX = 24
YIELD_EVERY_COMMANDS = 64
_NOTHING: Mapping[Lookup, Any] = {}

_encode_meta = msgspec.json.Encoder().encode


class KeyReused(Refusal, frozen=True, kw_only=True):
    """An item's own key was used before with another command."""

    CODE: ClassVar[str] = "idempotency_key_reused"
    differing: tuple[str, ...]

    def detail(self) -> str:
        return (
            f"This item's idempotency_key was used before with another command "
            f"(differing: {', '.join(self.differing)}); use a new key for a new command."
        )


class _Handler(NamedTuple):
    resolve: Resolver
    decider: Decider
    asks_aliases: bool
    asks_twice: bool


_handlers: dict[type[Command], _Handler] = {
    command_type: _Handler(
        resolver_for(command_type, decider),
        decider,
        type(decider).aliases is not Decider.aliases,
        type(decider).more_streams is not Decider.more_streams,
    )
    for command_type in registry.COMMANDS.values()
    for decider in [registry.decider_for(command_type)]
}


class _NeedsMore(Exception):
    """A command that cannot be decided with what is in memory alone."""


class _NotLookedUp(_NeedsMore):
    """A decision asks for more than states."""

    def __init__(self, lookups: Sequence[Lookup]) -> None:
        super().__init__()
        self.lookups = lookups


class Group:
    """Decides submissions into a draft."""

    def __init__(
        self,
        submissions: Sequence[Submission],
        working_set: WorkingSet,
        session: Session,
        projections: InlineProjections,
        now: datetime,
        kept: dict[str, IdempotencyRow],
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``kept`` holds the responses found under the keys of the group.

        ``settle`` waits for the group before this one to be committed, where it may not be
        yet; it is awaited before anything but streams is read, since tables would be missing
        what that group writes, while the streams it appends to are held.
        """
        self.draft = Draft(working_set, now)
        self.side_effects: list[tuple[Submission, Sequence[Outcome]]] = []
        self.refusals: list[Refusal] = []
        self._working_set = working_set
        self._session = session
        self._reads = GroupReads(self.draft, working_set, session, projections, settle)
        self._kept = kept
        self._expected = submissions
        self._keys_of: Sequence[Submission] = submissions
        self._facts = Facts(self.draft.now, counters=self.draft.counters)
        self._meta_made: tuple[Submission, str | None, str] | None = None

    async def _prefetch(self) -> None:
        """Load in few queries what the group's commands name and the working set does not hold.

        Nothing is looked for before the first command that misses something: mostly none does.
        """
        held = self._working_set
        commands = [item.command for submission in self._expected for item in submission.items]
        self._expected = ()
        aliases: dict[Alias, None] = {}
        for command in commands:
            decider = _handlers[type(command)].decider
            for alias in (*aliases_named(command), *decider.aliases(command)):
                if held.aliases.get(alias) is None:
                    aliases[alias] = None
        if aliases:
            await self._reads.load_aliases(list(aliases))
        streams: dict[str, None] = {}
        nested: dict[Alias, None] = {}
        resolved: list[tuple[_Handler, Command, Refs]] = []
        for command in commands:
            handler = _handlers[type(command)]
            try:
                refs = handler.resolve(command, self.draft)
            except Unread as unread:
                # A command with lines or lots has more names, which are read for all at once;
                # those that depend on others in turn are read when its turn comes.
                nested.update(dict.fromkeys(unread.aliases))
                continue
            if not isinstance(refs, Refusal):
                resolved.append((handler, command, refs))
        if nested:
            await self._reads.load_aliases(list(nested))
        for handler, command, refs in resolved:
            # A stream named by an id that is yet to be given out is not found, and not missed.
            for stream in handler.decider.streams(command, refs):
                if held.states.get(stream) is None:
                    streams[stream] = None
        if streams:
            await held.load_states(await self._session.connection(), streams)

    def decide_at_once(self, submission: Submission) -> Reply | None:
        """Decide a lone command that needs nothing but what is in memory, as most do.

        Return None, having done nothing, for any other submission: `decide` is for those.
        """
        items, idempotency = submission.items, submission.idempotency
        credential = submission.credential
        if (
            len(items) != 1
            or items[0].idempotency is not None
            or submission.finish is not None
            or submission.aborts is not None
            or (idempotency is not None and idempotency.key in self._kept)
            or (credential is not None and credential not in self._working_set.verified)
            or credential in self.draft.revoked
        ):
            return None
        try:
            outcome = self._try(
                submission, items[0].command, None, submission.expected_version, _NOTHING
            )
        except (_NeedsMore, Unread, VersionConflict):
            return None
        return self._rendered(submission, [outcome]) if outcome.events else None

    async def decide(self, submission: Submission) -> Reply:
        """Decide a submission's commands in order and render the response.

        Raise CredentialRevoked, VersionConflict or IdempotencyMismatch when it is refused as a
        whole. With no effect, it leaves nothing behind in the group.
        """
        if submission.credential is not None:
            await self._check_credential(submission.credential)
        idempotency = submission.idempotency
        if idempotency is not None and idempotency.key in self._kept:
            return replay(self._kept[idempotency.key], idempotency)
        go_back = self._mark(submission)
        try:
            outcomes, aborted = await self._decide_all(submission)
        except VersionConflict:
            go_back()
            used = await self._used_before(submission)
            if used:
                self._kept |= used
                return await self.decide(submission)
            raise
        # A key that was used is found out when it is stored again; where nothing will be
        # stored it must be asked for, or a repeated request would get a refusal.
        if not all(outcome.events or outcome.replay for outcome in outcomes):
            used = await self._used_before(submission)
            if used:
                go_back()
                self._kept |= used
                return await self.decide(submission)
        if aborted:
            go_back()
            outcomes = [
                msgspec.structs.replace(outcome, events=(), applied=False) for outcome in outcomes
            ]
        return self._rendered(submission, outcomes)

    def _rendered(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """Return the reply to what was decided, and keep it under the submission's key."""
        has_effect = False
        for outcome in outcomes:
            if outcome.refusal is not None:
                self.refusals.append(outcome.refusal)
            elif outcome.events:
                has_effect = True
        rendered = submission.render(outcomes)
        if has_effect:
            if submission.idempotency is not None:
                kept = rendered.body_kept or rendered.body
                self._keep(submission.idempotency, rendered.status, kept)
            if submission.side_effect is not None:
                self.side_effects.append((submission, outcomes))
        return Reply(rendered.status, rendered.body, self.draft.position)

    async def _used_before(self, submission: Submission) -> dict[str, IdempotencyRow]:
        """Return what is kept under those keys of a submission that turn out to have been used.

        The keys of the whole group are asked for at once, the first time.
        """
        keys = set(submission.idempotency_keys())
        if not keys or not self._keys_of:
            return {}
        await self._reads.settled()
        found = await store.read_kept_responses(
            await self._session.connection(),
            self._working_set.tenant_id,
            {key for each in self._keys_of for key in each.idempotency_keys()},
        )
        self._keys_of = ()
        used = {key: row for key, row in found.items() if key in keys}
        # What the group keeps itself comes first: if that was used, storing it will fail.
        self._kept = {**found, **self._kept}
        return used

    def _mark(self, submission: Submission) -> Callable[[], None]:
        """Return a function that undoes what a submission that is about to be decided does."""
        if len(submission.items) == 1 and submission.finish is None and submission.aborts is None:
            # Refused, a lone command has done nothing.
            return _nothing_to_undo
        keys_before = len(self.draft.keys)
        undo = self.draft.mark()

        def go_back() -> None:
            for row in self.draft.keys[keys_before:]:
                del self._kept[row.key]
            undo()

        return go_back

    async def _decide_all(self, submission: Submission) -> tuple[list[Outcome], bool]:
        outcomes: list[Outcome] = []
        expected_version = submission.expected_version
        refused = False
        for number, item in enumerate(submission.items, 1):
            if number % YIELD_EVERY_COMMANDS == 0:
                # The group in flight has its next statement to send, and others are served.
                await asyncio.sleep(0)
            try:
                if item.idempotency is not None:
                    raise _NeedsMore
                outcome = self._try(submission, item.command, None, expected_version, _NOTHING)
            except (_NeedsMore, Unread):
                outcome = await self._decide_item(submission, item, expected_version)
            expected_version = None
            refused = refused or outcome.refusal is not None
            outcomes.append(outcome)
        aborted = refused and submission.atomic
        if submission.aborts is not None and not aborted:
            aborted = submission.aborts(outcomes)
        if submission.finish is not None and not aborted:
            for command in submission.finish(outcomes):
                outcome = await self._decide_command(submission, command)
                outcomes.append(outcome)
                aborted = aborted or outcome.refusal is not None
        return outcomes, aborted

    def _keep(self, idempotency: Idempotency, status: int, body: bytes) -> None:
        row = keep(idempotency, status, body, self.draft.position)
        self.draft.keys.append(row)
        # A twin further down in the group is answered with this result.
        self._kept[idempotency.key] = row

    async def _check_credential(self, credential: Credential) -> None:
        held = self._working_set
        if credential in self.draft.revoked:
            raise CredentialRevoked
        if credential not in held.verified:
            await self._reads.settled()
            if not await store.active_credentials(
                await self._session.connection(), held.tenant_id, [credential]
            ):
                raise CredentialRevoked
            held.verified.add(credential)

    async def _decide_item(
        self,
        submission: Submission,
        item: Item,
        expected_version: int | None,
    ) -> Outcome:
        command, idempotency = item.command, item.idempotency
        if idempotency is None:
            return await self._decide_command(submission, command, None, expected_version)
        if idempotency.key in self._kept:
            try:
                return Outcome(replay=replay(self._kept[idempotency.key], idempotency).body)
            except IdempotencyMismatch as mismatch:
                return Outcome(refusal=KeyReused(differing=tuple(mismatch.differing)))
        outcome = await self._decide_command(submission, command, idempotency.key, expected_version)
        if outcome.events and submission.render_item is not None:
            self._keep(idempotency, 200, submission.render_item(outcome))
        return outcome

    async def _decide_command(
        self,
        submission: Submission,
        command: Command,
        item_key: str | None = None,
        expected_version: int | None = None,
    ) -> Outcome:
        lookups: dict[Lookup, Any] = {}
        for _ in range(LOADS_PER_COMMAND_MAX):
            try:
                return self._try(submission, command, item_key, expected_version, lookups)
            except Unread as unread:
                if self._expected:
                    await self._prefetch()
                    continue
                if unread.aliases:
                    await self._reads.load_aliases(unread.aliases)
                if unread.streams:
                    await self._working_set.load_states(
                        await self._session.connection(), unread.streams
                    )
            except _NotLookedUp as wanted:
                for lookup in wanted.lookups:
                    lookups[lookup] = await self._reads.look_up(lookup)
        raise RuntimeError(f"{command.TYPE} needs more to be read than a decision may ask for")

    def _try(
        self,
        submission: Submission,
        command: Command,
        item_key: str | None,
        expected_version: int | None,
        lookups: Mapping[Lookup, Any],
    ) -> Outcome:
        """Decide a command with what is in memory; raise Unread or _NotLookedUp for what is not."""
        resolve, decider, asks_aliases, asks_twice = _handlers[type(command)]
        draft, facts = self.draft, self._facts
        refs = resolve(command, draft)
        if isinstance(refs, Refusal):
            return Outcome(refs)
        counter = decider.allocates(command)
        if counter is not None:
            refs = refs._replace(new_id=draft.next_id(counter))
        if asks_aliases:
            aliases = decider.aliases(command)
            facts = facts._replace(aliases={alias: draft.find_alias(alias) for alias in aliases})
        streams = decider.streams(command, refs)
        states = draft.states_of(streams)
        if expected_version is not None and streams:
            actual = draft.version_of(streams[0])
            if actual != expected_version:
                raise VersionConflict(expected=expected_version, actual=actual)
        if asks_twice:
            for _ in range(STREAMS_ASKED_MAX):
                named = decider.more_streams(command, refs, states)
                unseen = [stream for stream in named if stream not in states]
                if not unseen:
                    break
                states.update(draft.states_of(unseen))
        wanted = decider.lookups(command, refs, states, draft.now)
        if wanted:
            missing = [lookup for lookup in wanted if lookup not in lookups]
            if missing:
                raise _NotLookedUp(missing)
            facts = with_lookups(facts, wanted, lookups)
            states.update(draft.states_of(decider.streams_after(command, refs, facts)))
            after = decider.lookups_after(command, refs, states, facts)
            if after:
                missing = [lookup for lookup in after if lookup not in lookups]
                if missing:
                    raise _NotLookedUp(missing)
                facts = with_lookups(facts, [*wanted, *after], lookups)
        decision = decider.decide(command, refs, states, facts)
        if isinstance(decision, Refusal):
            return Outcome(decision)
        if not decision:
            return Outcome(None, (), states)
        for new in decision:
            if new.stream not in states:
                states.update(draft.states_of([new.stream]))
        if counter is not None:
            draft.take_id(counter)
        default_at: datetime = getattr(command, "effective_at", None) or draft.now
        meta = self._meta(submission, item_key)
        return Outcome(None, draft.append(decision, default_at, meta, states), states)

    def _meta(self, submission: Submission, item_key: str | None) -> str:
        """Return the meta of a submission's events as JSON; it is the same for most of them."""
        made = self._meta_made
        if made is None or made[0] is not submission or made[1] != item_key:
            key = item_key
            if key is None and submission.idempotency is not None:
                key = submission.idempotency.key
            meta = submission.meta
            if key is not None and key != meta.idempotency_key:
                meta = msgspec.structs.replace(meta, idempotency_key=key)
            made = self._meta_made = (submission, item_key, _encode_meta(meta).decode())
        return made[2]


def _nothing_to_undo() -> None:
    return
