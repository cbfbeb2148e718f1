"""The made-up shop in a real ledger."""

from deploy.address import DatabaseAddress
from deploy.commands.demo import trade
from deploy.wiring import House
from ledger.store import tenant_transaction
from tests.support.postgres import create_tenant


async def test_a_year_of_trade_is_taken_without_a_refusal(
    house: House, database: DatabaseAddress
) -> None:
    """The shop's own books and the ledger agree; nothing is made or lost on the way."""
    tenant_id = await create_tenant(database)
    traded = await trade(house, tenant_id, seed=1, years=1)
    assert not traded.refused
    assert traded.appended.total() > 10_000
    assert {"MovementReversed", "TransferLost", "CountVarianceRevised"} <= set(traded.appended)
    assert {
        *("OrderPlaced", "OrderFulfilled", "OrderShipped", "OrderCancelled", "OrderReturned"),
        *("PurchaseOrderReceived", "LotRegistered", "SerialRegistered", "SerialMoved"),
    } <= set(traded.appended)
    async with tenant_transaction(house.pool, tenant_id) as connection:
        position = await connection.fetchval("SELECT position FROM ledger.head")
        sums = await connection.fetch(
            """
            SELECT sum(unrestricted + quarantine + in_transit + supplier + customer + adjustment
                       + loss)
            FROM projections.stock_level GROUP BY product_id
            """
        )
        lowest = await connection.fetch(
            """
            SELECT w.code, min(m.from_balance) FROM projections.movement m
            JOIN projections.location w USING (location_id)
            WHERE m.from_account = 'unrestricted' GROUP BY 1
            """
        )
        live = await connection.fetchval("SELECT count(*) FROM projections.reservation")
    assert position == traded.appended.total()
    assert {row[0] for row in sums} == {0}
    balances = dict(map(tuple, lowest))
    assert balances.pop("SHOP") < 0, "its counter may sell before it books in"
    assert min(balances.values()) >= 0
    assert live > 0
