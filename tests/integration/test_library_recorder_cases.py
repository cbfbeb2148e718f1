"""The eventsourcing library's own test cases for persistence modules, run on our log.

Which of them are not taken as they come, and why:

- ``TrackingRecorderTestCase`` and ``ProcessRecorderTestCase`` are not run: the ledger stores no
  tracking records. A view keeps its position with its rows, in its own store; the factory says
  so when asked for one, which the two overridden cases below hold it to.
- ``TranscoderTestCase`` tests ``JSONTranscoder``, which is the library's and which we use as it
  is.
"""

from collections.abc import Iterator
from typing import Any
from unittest import TestCase
from uuid import UUID, uuid4

import pytest
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    NotSupportedError,
    ProcessRecorder,
    TrackingRecorder,
)
from eventsourcing.tests import application as application_cases
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment

from deploy.address import DatabaseAddress
from ledger.bridge import (
    Bridge,
    BridgeAggregateRecorder,
    BridgeApplicationRecorder,
    BridgeFactory,
    BridgeSnapshotRecorder,
)
from tests.support.guest_log import app_url, fresh_database, new_tenant
from tests.support.postgres import TestServer


@pytest.fixture(scope="module")
def database(postgres: TestServer) -> Iterator[DatabaseAddress]:
    """One for the module: each recorder gets a tenant of its own."""
    with fresh_database(postgres) as address:
        yield address


@pytest.fixture(autouse=True)
def _give_database(request: pytest.FixtureRequest, database: DatabaseAddress) -> None:
    """Hand the module's database to the library's unittest classes."""
    case: Any = request.cls
    case.database = database


class OnTheLog(TestCase):
    """A bridge to an empty tenant for each recorder, closed at the test's end."""

    database: DatabaseAddress

    def bridge(self) -> Bridge:
        bridge = Bridge(self.database.app, new_tenant(self.database))
        self.addCleanup(bridge.close)
        return bridge

    def environment(self) -> dict[str, str]:
        return {
            "PERSISTENCE_MODULE": "ledger.bridge",
            "STOCKLEDGER_DATABASE_URL": app_url(self.database),
            "STOCKLEDGER_TENANT_ID": str(new_tenant(self.database)),
        }


class TestAggregateRecorder(OnTheLog, cases.AggregateRecorderTestCase):
    """The log as streams."""

    def create_recorder(self) -> AggregateRecorder:
        return BridgeAggregateRecorder(self.bridge())


class TestSnapshotRecorder(OnTheLog, cases.AggregateRecorderTestCase):
    """Snapshots are stored events of another kind: the same case holds for them."""

    def create_recorder(self) -> AggregateRecorder:
        return BridgeSnapshotRecorder(self.bridge())


class TestApplicationRecorder(
    OnTheLog, cases.ApplicationRecorderTestCase[BridgeApplicationRecorder]
):
    """The whole log, subscriptions included."""

    def create_recorder(self) -> BridgeApplicationRecorder:
        return BridgeApplicationRecorder(self.bridge())

    def test_insert_subscribe(self) -> None:
        super().optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(TestApplicationRecorder):
    """The same with originator ids that are text."""

    def new_originator_id(self) -> UUID | str:
        return f"dog-{uuid4()}"


class TestNonInterleavingNotificationIds(OnTheLog, cases.NonInterleavingNotificationIDsBaseCase):
    """Two writers' events never mix."""

    def create_recorder(self) -> ApplicationRecorder:
        return BridgeApplicationRecorder(self.bridge())


class TestInfrastructureFactory(OnTheLog, cases.InfrastructureFactoryTestCase[BridgeFactory]):
    """What ``PERSISTENCE_MODULE=ledger.bridge`` gives."""

    def setUp(self) -> None:
        self.env = Environment(env=self.environment())
        super().setUp()

    def expected_factory_class(self) -> type[BridgeFactory]:
        return BridgeFactory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return BridgeAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return BridgeApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        raise NotImplementedError

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        raise NotImplementedError

    def test_create_tracking_recorder(self) -> None:
        """Overridden: there is none, and the error says what to do instead."""
        with pytest.raises(NotSupportedError, match="persistence module of its own"):
            self.factory.tracking_recorder()

    def test_create_process_recorder(self) -> None:
        """Overridden: there is none, and the error says what to do instead."""
        with pytest.raises(NotSupportedError, match="a view of its own"):
            self.factory.process_recorder()


class ByEnvironment(OnTheLog):
    """Applications find the log through the process's environment, and are closed at the end."""

    def setUp(self) -> None:
        super().setUp()
        patch = pytest.MonkeyPatch()
        self.addCleanup(patch.undo)
        for name, value in self.environment().items():
            patch.setenv(name, value)
        construct = BridgeFactory.__init__

        def construct_and_remember(factory: BridgeFactory, env: Any = None) -> None:
            construct(factory, env)
            self.addCleanup(factory.close)

        patch.setattr(BridgeFactory, "__init__", construct_and_remember)


class TestExampleApplication(ByEnvironment, application_cases.ExampleApplicationTestCase):
    """The library's bank accounts, with snapshots."""

    expected_factory_topic = "ledger.bridge:BridgeFactory"


class TestApplication(ByEnvironment, application_cases.ApplicationTestCase):
    """What the library expects of any application: caches, contention, notification log."""
