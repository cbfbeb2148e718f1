"""Which tenant a command works on."""

from ledger.store import Pool, tenant_transaction


async def tenant_named(pool: Pool, slug: str | None) -> int:
    """Return the id of the tenant with this slug; with None, of the first one there is.

    Raises LookupError, saying what there is, when there is no such tenant.
    """
    slugs: dict[str, int] = {}
    async with pool.acquire() as connection:
        tenant_ids = [row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")]
    for tenant_id in tenant_ids:
        async with tenant_transaction(pool, tenant_id) as connection:
            name = await connection.fetchval(
                "SELECT slug FROM ledger.tenant WHERE tenant_id = $1", tenant_id
            )
            slugs[name] = tenant_id
            if slug in (None, name):
                return tenant_id
    if not slugs:
        raise LookupError("there is no tenant yet: start the service once, with make run")
    raise LookupError(f"there is no tenant {slug!r}; there are: {', '.join(slugs)}")
