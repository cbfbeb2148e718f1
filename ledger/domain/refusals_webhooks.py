"""Why commands about webhook endpoints are refused."""

from typing import ClassVar, Literal

from ledger.domain.decision import Refusal


class WebhookEndpointNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "webhook_endpoint_not_found"
    endpoint_id: int

    def detail(self) -> str:
        return (
            f"There is no webhook endpoint with id {self.endpoint_id}; list the endpoints for "
            f"those there are, or create one."
        )


class WebhookEndpointIdle(Refusal, frozen=True, kw_only=True):
    """Nothing is sent to such an endpoint, so nothing can be sent to it again."""

    CODE: ClassVar[str] = "webhook_endpoint_idle"
    endpoint_id: int
    reason: Literal["unverified", "disabled"]

    def detail(self) -> str:
        way_out = "enable" if self.reason == "disabled" else "verify"
        return (
            f"The webhook endpoint {self.endpoint_id} is {self.reason}, so nothing is sent to it; "
            f"{way_out} it first."
        )


class WebhookTopicTwice(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "webhook_topic_twice"
    topic: str

    def detail(self) -> str:
        return f"The topic {self.topic} is named twice; name each topic once."
