"""Invariants I3 and I4 when processes are killed: the short form of ``make crash``."""

import pytest

from tests.proof.crash import VICTIMS, crash


async def test_killing_the_service_and_its_database_loses_and_doubles_nothing() -> None:
    """Each kind of victim once, under load."""
    report = await crash(len(VICTIMS), seed=3, failing=0.2)
    assert report.faults == []
    assert report.acknowledged > 0
    assert sum(report.kills.values()) == len(VICTIMS)
    assert report.relayed > report.acknowledged
    assert report.told > 0
    assert report.failed > 0


@pytest.mark.long
async def test_killing_them_fifty_times_loses_and_doubles_nothing() -> None:
    """At length; ``python -m tests.proof.crash`` does the same with a progress bar."""
    report = await crash(50, seed=11)
    assert report.faults == []
