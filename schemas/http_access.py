"""HTTP bodies and replies of signing in, users, API keys and the tenant."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.access import Email, Role, Scope
from schemas.common import Name

Password = Annotated[
    str,
    Meta(min_length=12, max_length=200, description="At least 12 characters"),
]


class LoginBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    email: Annotated[str, Meta(min_length=1, max_length=254)]
    password: Annotated[str, Meta(min_length=1, max_length=200)]


class UserReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    email: str
    role: Role
    is_active: bool
    created_at: datetime
    last_login_at: datetime | None = None


class SignedInUser(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    email: str
    role: Role


class LoginReply(msgspec.Struct, frozen=True, kw_only=True):
    """The token lasts eight hours."""

    token: str
    expires_at: datetime
    user: SignedInUser


class UserBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    email: Email
    password: Password
    role: Role = "staff"


class UsersReply(msgspec.Struct, frozen=True, kw_only=True):
    users: list[UserReply]
    total: int


class ApiKeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``expires_at`` is a date (the key lasts until that day ends, UTC) or a time with a zone."""

    name: Name
    permissions: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=2)] = ("read",)
    expires_at: Annotated[str, Meta(min_length=10, max_length=40)] | None = None


class ApiKeyCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    """The one reply that shows the key; a replay of it shows the key masked."""

    id: int
    name: str
    key: str
    permissions: tuple[Scope, ...]
    expires_at: datetime | None
    created_at: datetime


class ApiKeyReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    name: str
    key_prefix: str
    permissions: list[Scope]
    last_used_at: datetime | None
    expires_at: datetime | None
    is_active: bool
    created_at: datetime


class ApiKeysReply(msgspec.Struct, frozen=True, kw_only=True):
    api_keys: list[ApiKeyReply]


class ApiKeyUseReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    api_key_id: int
    key_name: str | None
    method: str
    path: str
    status_code: int
    response_time_ms: int
    ip_address: str
    created_at: datetime


class ApiKeyLogReply(msgspec.Struct, frozen=True, kw_only=True):
    logs: list[ApiKeyUseReply]
    total: int
    page: int
    limit: int


class TenantReply(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    slug: str
    name: str
    time_zone: str
    inventory_system_id: str
    created_at: datetime
    position: int
