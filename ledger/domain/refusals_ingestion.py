"""Why commands of ingestion and of API keys are refused, beyond `refusals`."""

from typing import ClassVar

from ledger.domain.decision import Refusal


class ImportBatchIsReversed(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "import_batch_reversed"
    batch_id: str

    def detail(self) -> str:
        return (
            f"Import batch {self.batch_id!r} has been reversed and takes no more lines; send them "
            f"as a new batch."
        )


class NotADemandBatch(Refusal, frozen=True, kw_only=True):
    """Only demand is reversed as a whole: the rest are facts that later ones rely on."""

    CODE: ClassVar[str] = "not_a_demand_batch"
    batch_id: str
    kind: str

    def detail(self) -> str:
        return (
            f"Import batch {self.batch_id!r} took in {self.kind}, not demand; undo what it "
            f"brought about one by one."
        )


class ApiKeyIsOver(Refusal, frozen=True, kw_only=True):
    """A key that was revoked or has expired gets no new secret."""

    CODE: ClassVar[str] = "api_key_over"
    key_id: int

    def detail(self) -> str:
        return f"API key {self.key_id} is revoked or has expired; create a new one."
