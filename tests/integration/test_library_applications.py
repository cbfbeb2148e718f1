"""Genuine applications and projections of the eventsourcing library, on our log."""

from collections.abc import Iterator
from functools import singledispatchmethod
from threading import active_count
from typing import Any
from uuid import UUID, uuid4

import pytest
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    InfrastructureFactoryError,
    IntegrityError,
    OperationalError,
    StoredEvent,
    Tracking,
)
from eventsourcing.popo import POPOTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner

from deploy.address import DatabaseAddress
from ledger.bridge import Bridge, BridgeApplicationRecorder, BridgeFactory
from ledger.mapper import StreamEvent, StructMapper
from projections.engine import Engine
from tests.golden.examples import EXAMPLES
from tests.support.guest_log import app_url, fresh_database, new_tenant
from tests.support.postgres import TestServer

STOCK_EVENTS = [one for one in EXAMPLES if one.TYPE in ("StockReceived", "StockIssued")]


class Dog(Aggregate):
    """The library's tutorial aggregate."""

    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        self.tricks.append(trick)


class DogSchool(Application[UUID]):
    """The library's tutorial application."""

    def register_dog(self, name: str) -> UUID:
        dog = Dog(name)
        self.save(dog)
        return dog.id

    def add_trick(self, dog_id: UUID, trick: str) -> None:
        dog: Dog = self.repository.get(dog_id)
        dog.add_trick(trick)
        self.save(dog)

    def tricks(self, dog_id: UUID) -> list[str]:
        dog: Dog = self.repository.get(dog_id)
        return dog.tricks


class Handled(POPOTrackingRecorder):
    """A view in memory: how many events of each type there were."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}

    def count(self, name: str, tracking: Tracking) -> None:
        with self._database_lock:
            self.insert_tracking(tracking)
            self.counts[name] = self.counts.get(name, 0) + 1


class CountHandled(Projection[Handled]):
    """Counts our events and the library's own."""

    @singledispatchmethod
    def process_event(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, domain_event: Any, tracking: Tracking
    ) -> None:
        self.view.count(type(domain_event).__qualname__, tracking)

    @process_event.register
    def _(self, domain_event: StreamEvent, tracking: Tracking) -> None:
        self.view.count(domain_event.event.TYPE, tracking)


@pytest.fixture(scope="module")
def database(postgres: TestServer) -> Iterator[DatabaseAddress]:
    """One for the module: each test gets a tenant of its own."""
    with fresh_database(postgres) as address:
        yield address


@pytest.fixture
def environment(database: DatabaseAddress) -> dict[str, str]:
    """What an operator sets for a library application; the tenant is empty."""
    return {
        "PERSISTENCE_MODULE": "ledger.bridge",
        "STOCKLEDGER_DATABASE_URL": app_url(database),
        "STOCKLEDGER_TENANT_ID": str(new_tenant(database)),
    }


@pytest.fixture
def append_stock_events(database: DatabaseAddress, environment: dict[str, str]) -> Iterator[Bridge]:
    """Stock events in the log of that tenant, by a recorder with read models."""
    bridge = Bridge(database.app, int(environment["STOCKLEDGER_TENANT_ID"]), projections=Engine())
    mapper = StructMapper(BridgeFactory(environment).transcoder())
    BridgeApplicationRecorder(bridge).insert_events(
        [
            mapper.to_stored_event(StreamEvent("stock-12-3", version, one))
            for version, one in enumerate(STOCK_EVENTS, 1)
        ]
    )
    yield bridge
    bridge.close()


def test_an_application_saves_and_reads_its_aggregates(environment: dict[str, str]) -> None:
    """And another instance of it, later, reads them too."""
    with DogSchool(environment) as school:
        fido = school.register_dog("Fido")
        school.add_trick(fido, "roll over")
        school.add_trick(fido, "play dead")
        school.close()

    with DogSchool(environment) as school:
        assert school.tricks(fido) == ["roll over", "play dead"]
        assert [item.id for item in school.notification_log["1,10"].items] == [1, 2, 3]
        school.close()


def test_two_instances_cannot_both_change_one_version(environment: dict[str, str]) -> None:
    """Optimistic concurrency as the library has it."""
    with DogSchool(environment) as school, DogSchool(environment) as other:
        fido = school.register_dog("Fido")
        stale: Dog = other.repository.get(fido)
        school.add_trick(fido, "roll over")
        stale.add_trick("play dead")

        with pytest.raises(IntegrityError):
            other.save(stale)

        school.close()
        other.close()


def test_an_application_reads_our_stock_events(
    environment: dict[str, str], append_stock_events: Bridge
) -> None:
    """From its notification log and from its event store, in their present shape."""
    with DogSchool(environment) as school:
        school.register_dog("Fido")
        items = school.notification_log["1,10"].items
        read = [school.mapper.to_domain_event(item) for item in items]
        placed = [StreamEvent("stock-12-3", n, one) for n, one in enumerate(STOCK_EVENTS, 1)]
        assert read[:-1] == placed
        assert isinstance(read[-1], Dog.Registered)  # pyright: ignore[reportAttributeAccessIssue]
        assert list(school.events.get("stock-12-3")) == placed  # pyright: ignore[reportArgumentType]
        school.close()


def test_a_projection_of_the_library_follows_our_log(
    environment: dict[str, str], append_stock_events: Bridge
) -> None:
    """Live, stock events and aggregates alike, its view being its own."""
    with ProjectionRunner(
        application_class=DogSchool,
        projection_class=CountHandled,
        view_class=Handled,
        env={**environment, "COUNTHANDLED_PERSISTENCE_MODULE": "eventsourcing.popo"},
    ) as runner:
        fido = runner.app.register_dog("Fido")
        runner.app.add_trick(fido, "roll over")
        runner.projection.view.wait("DogSchool", 4, timeout=10)

        assert runner.projection.view.counts == {
            "StockReceived": 1,
            "StockIssued": 1,
            "Dog.Registered": 1,
            "Dog.TrickAdded": 1,
        }


def test_a_subscription_sees_what_another_process_appends(database: DatabaseAddress) -> None:
    """Another bridge stands for it: nothing in this one is told."""
    tenant_id = new_tenant(database)
    ours, theirs = Bridge(database.app, tenant_id), Bridge(database.app, tenant_id)
    with BridgeApplicationRecorder(ours).subscribe() as subscription:
        BridgeApplicationRecorder(theirs).insert_events(
            [StoredEvent(uuid4(), 1, "zoo:Born", b"{}")]
        )

        assert next(subscription).id == 1
    theirs.close()
    ours.close()


def test_a_closed_bridge_leaves_no_thread_and_says_that_it_is_closed(
    database: DatabaseAddress,
) -> None:
    """Closing twice is closing once."""
    before = active_count()
    bridge = Bridge(database.app, new_tenant(database))
    recorder = BridgeApplicationRecorder(bridge)
    assert recorder.max_notification_id() is None
    assert active_count() == before + 1

    bridge.close()
    bridge.close()

    assert active_count() == before
    with pytest.raises(OperationalError, match="closed"):
        recorder.max_notification_id()


def test_a_bridge_without_its_database_says_so_and_tries_again(
    database: DatabaseAddress,
) -> None:
    """In the library's words."""
    bridge = Bridge({**database.app, "host": "/nowhere"})
    for _ in range(2):
        with pytest.raises(OperationalError):
            BridgeApplicationRecorder(bridge).max_notification_id()
    bridge.close()


def test_wrong_settings_are_told_by_name(environment: dict[str, str]) -> None:
    """Each with what would be right."""
    with pytest.raises(InfrastructureFactoryError, match="STOCKLEDGER_DATABASE_URL is not set"):
        BridgeFactory({})
    with pytest.raises(InfrastructureFactoryError, match="TENANT_ID is 'x'; it should be a whole"):
        BridgeFactory({**environment, "STOCKLEDGER_TENANT_ID": "x"})
