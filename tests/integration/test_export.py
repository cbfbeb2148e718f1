"""`stockledger export log` and `stockledger verify FILE`, as an auditor runs them."""

import asyncio
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from deploy.commands import signing_keys, verify
from tests.proof.crash import KEY, Service
from tests.support.commands import do

WITHIN_S = 60.0


async def _run(service: Service, *arguments: str) -> tuple[int, str]:
    """Run a command as a process."""
    return await asyncio.wait_for(service.run(*arguments), WITHIN_S)


async def _open(client: httpx.AsyncClient, first: int, count: int) -> None:
    for number in range(first, first + count):
        body = {"name": f"Place {number}", "code": f"P{number}"}
        assert (await client.post("/api/warehouses", json=body)).status_code == 201


async def _signed(client: httpx.AsyncClient) -> int:
    """Wait until everything is signed; return how much that is."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            head = (await client.get("/api/ledger/head")).json()["position"]
            note = await client.get("/api/ledger/checkpoint")
            if note.status_code == 200 and int(note.text.splitlines()[1]) == head:
                return head
            await asyncio.sleep(0.1)


async def test_an_auditor_exports_and_checks_without_us(tmp_path: Path) -> None:
    """From a running service, twice over; then everything is gone but the file and the key."""
    service = Service(tmp_path)
    out = tmp_path / "log.ndjson"
    await service.start()
    try:
        async with httpx.AsyncClient(base_url=service.url, headers={"X-API-Key": KEY}) as client:
            await _open(client, 1, 5)
            size = await _signed(client)
            code, said = await _run(service, "export", "log", "--out", str(out))
            assert (code, f"{size} events written" in said) == (0, True), said
            await _open(client, 6, 5)
            more = await _signed(client)
            # As if the first run had been cut off in the middle of a line.
            out.write_bytes(out.read_bytes()[:-40])
            code, said = await _run(service, "export", "log", "--out", str(out))
            assert (code, f"holds {more}" in said) == (0, True), said
            folder = tmp_path / "log"
            parquet = ("--format", "parquet", "--out", str(folder), "--events-per-file", "1000")
            code, said = await _run(service, "export", "log", *parquet)
            assert (code, f"{folder} holds {more}" in said) == (0, True), said
            tables = tmp_path / "tables"
            code, said = await _run(service, "export", "tables", "--out", str(tables))
            assert (code, f"All of it as of position {more}" in said) == (0, True), said
            receipt = tmp_path / "receipt.json"
            receipt.write_bytes((await client.get("/api/ledger/events/4/receipt")).content)
        data_dir = Path(service.environment["STOCKLEDGER_DATA_DIR"])
        code, said = do(signing_keys.command, "list", data_dir=data_dir)
        assert code == 0, said
        key = said.split()[0]
        code, said = do(signing_keys.command, "rotate", data_dir=data_dir)
        assert (code, said.count("signs")) == (0, 2), said
    finally:
        await service.stop()
    service.environment["STOCKLEDGER_DATA_DIR"] = str(tmp_path / "elsewhere")
    code, said = await _run(service, "verify", str(out), "--key", key)
    assert (code, f"{more} events are as they were signed" in said) == (0, True), said
    code, said = do(verify.command, str(folder), "--key", key)
    assert (code, f"{more} events are as they were signed" in said) == (0, True), said
    code, said = do(verify.command, str(receipt), "--key", key)
    assert (code, "The event at position 4" in said) == (0, True), said
    lines = out.read_bytes().splitlines(keepends=True)
    forged = tmp_path / "forged.ndjson"
    forged.write_bytes(b"".join(lines).replace(b"Place 3", b"Place 9"))
    notes = ["--checkpoint", f"{out}.checkpoints"]
    code, said = await _run(service, "verify", str(forged), "--key", key, *notes)
    assert code == 1
    assert "is not what its leaf hash says" in said
    assert "This is not what was signed" in said
    (file,) = folder.glob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    rows[4]["data"] = rows[4]["data"].replace("}", " }")
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    code, said = do(verify.command, str(file), "--key", key)
    assert code == 1
    assert f"{file.name}, row 5: position 5 is not what its leaf hash says" in said
    cut = tmp_path / "cut.ndjson"
    cut.write_bytes(b"".join(lines[:-1]))
    code, said = do(verify.command, str(cut), "--key", key, *notes)
    assert (code, f"{more} have been signed" in " ".join(said.split())) == (1, True), said
    code, said = do(verify.command, str(out))
    assert (code, "--key" in said) == (2, True), said
    assert not (tmp_path / "elsewhere").exists()
