"""Every setting of the service: from a TOML file and from the environment, which wins.

A field's name in the file is its name here; in the environment it is upper case behind
``STOCKLEDGER_``. Anything unknown or wrong is refused at start, all of it at once.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta

PREFIX: Final = "STOCKLEDGER_"
CONFIG_VARIABLE: Final = f"{PREFIX}CONFIG"
CONFIG_FILE: Final = Path("stockledger.toml")
_SECRET: Final = {"secret": True}

Port = Annotated[int, Meta(ge=0, le=65535, description="a TCP port, 0 to 65535")]
PostgresUrl = Annotated[
    str,
    Meta(
        pattern=r"^postgres(ql)?://",
        description="a URL such as postgresql://user:password@host:5432/stockledger",
    ),
]

NatsUrl = Annotated[
    str,
    Meta(
        pattern=r"^(nats|tls)://[^,\s]+(,(nats|tls)://[^,\s]+)*$",
        description="a URL such as nats://user:password@host:4222, or several with commas",
    ),
]


class InvalidSettings(Exception):
    """The settings are wrong; ``problems`` says of each what is wrong and what would be right."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the service is told at start. Each field's text is also its documentation."""

    host: Annotated[
        str, Meta(min_length=1, description="The address to listen on; 0.0.0.0 for every one.")
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The TCP port to listen on, 0 to 65535.")] = 8000
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="API processes, 1 to 64, sharing the port and the database. One does for "
            "most: commands are committed in groups whatever their number.",
        ),
    ] = 1
    http_server: Annotated[
        Literal["granian", "uvicorn"],
        Meta(description="Which HTTP server carries the application: granian or uvicorn."),
    ] = "granian"
    data_dir: Annotated[
        Path,
        Meta(
            description="The folder for everything kept on this machine: the embedded database, "
            "generated secrets. Made if missing."
        ),
    ] = Path(".stockledger")
    database_url: Annotated[
        PostgresUrl | None,
        Meta(
            description="An own PostgreSQL, 16 or newer, in place of the embedded one: a URL such "
            "as postgresql://user:password@host:5432/stockledger. Its user must be "
            "stockledger_app or be able to become it.",
            extra=_SECRET,
        ),
    ] = None
    migration_database_url: Annotated[
        PostgresUrl | None,
        Meta(
            description="The same database for migrations and administration, as a user that can "
            "become stockledger_owner: a URL such as postgresql://user:password@host:5432/"
            "stockledger. Left out, database_url is used for both.",
            extra=_SECRET,
        ),
    ] = None
    postgres_port: Annotated[
        Port,
        Meta(
            description="A TCP port on which the embedded PostgreSQL listens too, on 127.0.0.1 "
            "alone, for analysts' tools; 0 for its private socket only."
        ),
    ] = 0
    relay: Annotated[
        bool,
        Meta(
            description="Whether events are relayed to NATS JetStream: true or false. Without it "
            "no embedded NATS is started either."
        ),
    ] = True
    nats_url: Annotated[
        NatsUrl | None,
        Meta(
            description="An own NATS with JetStream, 2.12 or newer, in place of the embedded one: "
            "a URL such as nats://user:password@host:4222 or tls://token@host:4222, and for a "
            "cluster those of its servers, with commas.",
            extra=_SECRET,
        ),
    ] = None
    nats_replicas: Annotated[
        int,
        Meta(
            ge=1,
            le=5,
            description="Servers of a NATS cluster that hold each new stream, 1 to 5. Streams that "
            "there are already stay as they are.",
        ),
    ] = 1
    nats_store_bytes_max: Annotated[
        int,
        Meta(
            ge=16 * 1024 * 1024,
            le=2**50,
            description="Bytes on the disk that the embedded NATS's streams may take, 16,777,216 "
            "and more.",
        ),
    ] = 16 * 1024**3
    pool_size: Annotated[
        int, Meta(ge=2, le=1000, description="Database connections per API process, 2 to 1000.")
    ] = 16
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least level that is logged: debug, info, warning or error."),
    ] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Meta(description="json, console, or auto: console on a terminal and json elsewhere."),
    ] = "auto"
    access_log: Annotated[
        bool,
        Meta(
            description="Whether a line is logged for every request: true or false. Requests with "
            "an API key are in its usage log in any case."
        ),
    ] = False
    queue_commands_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000,
            description="Commands that may wait in one API process, 1 to 1,000,000; further ones "
            "are answered 503 with Retry-After.",
        ),
    ] = 10_000
    group_commands_max: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Commands committed in one transaction, 1 to 100,000."),
    ] = 1_000
    bulk_commands_max: Annotated[
        int,
        Meta(
            ge=1_000,
            le=100_000,
            description="Commands in one request to /api/ledger/commands, 1,000 to 100,000.",
        ),
    ] = 10_000
    body_bytes_max: Annotated[
        int,
        Meta(
            ge=65_536,
            le=1_073_741_824,
            description="Bytes in one request's body, 65,536 to 1,073,741,824.",
        ),
    ] = 16 * 1024 * 1024
    checkpoints: Annotated[
        bool,
        Meta(description="Whether checkpoints of each log are signed: true or false."),
    ] = True
    checkpoint_name: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\s+]+$")],
        Meta(
            description="The name in signatures of checkpoints, 1 to 200 characters without spaces "
            "and +; a host name of your own tells your installation from all others."
        ),
    ] = "stockledger"
    checkpoint_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s]+$", max_length=2000)] | None,
        Meta(
            description="An auditor's address to which every signed checkpoint is also POSTed, as "
            "text/plain: a URL such as https://auditor.example/checkpoints.",
            extra=_SECRET,
        ),
    ] = None
    ingestion_body_bytes_max: Annotated[
        int,
        Meta(
            ge=65_536,
            le=17_179_869_184,
            description="Bytes in one request to /api/integrations/v1/ingestion/order-lines, "
            "65,536 to 17,179,869,184. It is never held in memory; of one that is JSON, not "
            "NDJSON, the lines are in a file in data_dir meanwhile.",
        ),
    ] = 128 * 1024 * 1024
    states_cached_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000_000,
            description="Streams whose state an API process keeps in memory, 1 to 10,000,000.",
        ),
    ] = 65_536
    idempotency_days: Annotated[
        int,
        Meta(
            ge=30,
            le=3650,
            description="Days that a response is kept under its Idempotency-Key, 30 to 3650.",
        ),
    ] = 30
    usage_log_days: Annotated[
        int,
        Meta(
            ge=1,
            le=3650,
            description="Days that requests with API keys stay in the usage log, 1 to 3650.",
        ),
    ] = 90
    woocommerce_items_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Items in one request of the WooCommerce API, 1 to 10,000; more are "
            "answered Too many items.",
        ),
    ] = 1_000
    woocommerce_rollback: Annotated[
        Literal["threshold", "all-or-nothing", "independent"],
        Meta(
            description="When a bulk sync of the WooCommerce API has no effect, where the request "
            "does not say: threshold (more than woocommerce_rollback_percent of the items fail), "
            "all-or-nothing (one fails) or independent (never)."
        ),
    ] = "threshold"
    woocommerce_rollback_percent: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Percent of the items of a bulk sync that may fail, 0 to 100; with more, "
            "nothing of it is applied.",
        ),
    ] = 50
    webhook_log_days: Annotated[
        int,
        Meta(
            ge=1,
            le=3650,
            description="Days that inbound webhook requests stay in their log, 1 to 3650.",
        ),
    ] = 30
    webhooks: Annotated[
        bool,
        Meta(
            description="Whether webhooks are sent: true or false. What is not sent waits, and "
            "goes out when they are sent again."
        ),
    ] = True
    webhook_http_allowed: Annotated[
        bool,
        Meta(
            description="Whether webhooks may go to addresses with http:// too, unencrypted: true "
            "or false."
        ),
    ] = False
    webhook_private_allowed: Annotated[
        bool,
        Meta(
            description="Whether webhooks may go to addresses of private networks and of this "
            "machine: true or false. For tests and intranets; else an endpoint could reach what "
            "is behind the firewall."
        ),
    ] = False
    webhook_at_once_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Webhook deliveries that may be under way at once, 1 to 10,000. Each "
            "endpoint may have 4 in any case.",
        ),
    ] = 512
    webhook_endpoint_at_once_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Webhook deliveries that may be under way to one endpoint, 1 to 1,000.",
        ),
    ] = 64
    webhook_timeout_s: Annotated[
        int,
        Meta(ge=1, le=60, description="Seconds that a webhook's receiver may take, 1 to 60."),
    ] = 15
    webhook_retry_minutes: Annotated[
        int,
        Meta(
            ge=1,
            le=20_160,
            description="Minutes from a webhook's first attempt to its eighth and last, with "
            "delays that grow, 1 to 20,160.",
        ),
    ] = 1_655
    webhook_failing_days: Annotated[
        int,
        Meta(
            ge=1,
            le=90,
            description="Days without any success after which a webhook endpoint is disabled, "
            "1 to 90.",
        ),
    ] = 5
    delivery_log_days: Annotated[
        int,
        Meta(
            ge=1,
            le=3650,
            description="Days that webhook deliveries, parked ones too, and the attempts at them "
            "stay in their log, 1 to 3650.",
        ),
    ] = 30
    jwt_secret: Annotated[
        Annotated[str, Meta(min_length=32)] | None,
        Meta(
            description="Signs the tokens of users who log in: at least 32 characters, the same on "
            "every machine of one installation. Left out, one is made and kept in data_dir.",
            extra=_SECRET,
        ),
    ] = None
    erasure_keys: Annotated[
        Annotated[str, Meta(min_length=43, max_length=2_000)] | None,
        Meta(
            description="The master keys of personal data, the newest first, with commas: 32 bytes "
            "in base64 each, the same on every machine of one installation. Left out, one is made "
            "and kept in data_dir; without it, personal data is lost.",
            extra=_SECRET,
        ),
    ] = None
    bootstrap_tenant: Annotated[
        Annotated[str, Meta(min_length=1, max_length=200)] | None,
        Meta(description="The first start's tenant: its name, 1 to 200 characters."),
    ] = None
    bootstrap_owner_email: Annotated[
        Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")],
        Meta(description="The first start's owner signs in with this address."),
    ] = "owner@example.com"
    bootstrap_owner_password: Annotated[
        Annotated[str, Meta(min_length=8, max_length=200)] | None,
        Meta(
            description="The first start's owner's password, 8 to 200 characters. Left out, one is "
            "made and shown once.",
            extra=_SECRET,
        ),
    ] = None
    bootstrap_api_key: Annotated[
        Annotated[str, Meta(min_length=24, max_length=200, pattern=r"^[\x21-\x7e]+$")] | None,
        Meta(
            description="The first start's API key, 24 to 200 printable characters without spaces. "
            "Left out, one is made and shown once.",
            extra=_SECRET,
        ),
    ] = None
    test_data: Annotated[
        Path,
        Meta(
            description="The folder of real input files that some tests and benchmarks read; "
            "without it they are skipped."
        ),
    ] = Path("../shared/data")

    def __post_init__(self) -> None:
        if self.migration_database_url is not None and self.database_url is None:
            raise ValueError(
                "migration_database_url is for use with database_url; set both or neither"
            )

    def __repr__(self) -> str:
        shown = ", ".join(f"{f.name}={f.shown(getattr(self, f.name))!r}" for f in fields())
        return f"Settings({shown})"


class Field(NamedTuple):
    """One setting, as the documentation and the error messages tell of it."""

    name: str
    variable: str
    type: Any
    default: Any
    description: str
    secret: bool

    def shown(self, value: object) -> object:
        """Return a value as it may be printed: a secret only as being there."""
        if value is None or not self.secret:
            return str(value) if isinstance(value, Path) else value
        if isinstance(value, str) and "://" in value:
            return re.sub(r"//[^/@]*@", "//***@", value).split("?")[0]
        return "***"


def fields() -> Iterator[Field]:
    """Give every setting, in the order of the class."""
    types = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        meta = next(m for m in reversed(get_args(types[field.name])) if isinstance(m, Meta))
        yield Field(
            name=field.name,
            variable=PREFIX + field.name.upper(),
            type=types[field.name],
            default=field.default,
            description=meta.description or "",
            secret=bool((meta.extra or {}).get("secret")),
        )


def load_settings(
    environment: Mapping[str, str] | None = None, *, folder: Path | None = None
) -> Settings:
    """Read the settings; raise InvalidSettings with everything that is wrong with them.

    ``environment`` is the process's own unless given; ``folder``, the current one, is where
    ``stockledger.toml`` is looked for when ``STOCKLEDGER_CONFIG`` names no file.
    """
    environment = os.environ if environment is None else environment
    known = {field.name: field for field in fields()}
    problems: list[str] = []
    values: dict[str, Any] = {}

    for source, name, given in (
        *_from_file(environment, folder or Path(), problems),
        *_from_environment(environment),
    ):
        field = known.get(name)
        if field is None:
            problems.append(_unknown(source, name, known))
            continue
        try:
            values[name] = msgspec.convert(
                given,
                field.type,
                strict=not source.startswith(PREFIX),
                dec_hook=decode_path,
            )
        except msgspec.ValidationError as error:
            shown = "the value (not shown)" if field.secret else repr(given)
            fault = str(error).replace("`", "").replace("Expected", "expected")
            problems.append(f"{source}: {shown} is wrong: {fault}. {field.description}")
    if problems:
        raise InvalidSettings(problems)
    try:
        return Settings(**values)
    except ValueError as error:
        raise InvalidSettings([str(error)]) from error


def _from_file(
    environment: Mapping[str, str], folder: Path, problems: list[str]
) -> list[tuple[str, str, Any]]:
    named = environment.get(CONFIG_VARIABLE)
    path = Path(named) if named else folder / CONFIG_FILE
    if not named and not path.is_file():
        return []
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.append(f"{CONFIG_VARIABLE}: cannot read {path}: {reason}. Name a readable file.")
        return []
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: not valid TOML: {error}.")
        return []
    return [(f"{path}: {name}", name, value) for name, value in content.items()]


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    return [
        (variable, variable.removeprefix(PREFIX).lower(), value)
        for variable, value in sorted(environment.items())
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE
    ]


def _unknown(source: str, name: str, known: Mapping[str, Field]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    in_environment = source.startswith(PREFIX)
    if near:
        right = known[near[0]].variable if in_environment else near[0]
        return f"{source}: there is no such setting. Did you mean {right}?"
    return f"{source}: there is no such setting. `stockledger settings` lists them all."


def decode_path(wanted: Any, given: Any) -> Any:
    """Make a Path of a setting (msgspec's decoding hook)."""
    if wanted is Path and isinstance(given, str) and given and "\x00" not in given:
        return Path(given).expanduser()
    raise ValueError("expected the path of a folder")


def encode_path(value: Any) -> Any:
    """Write a Path as text (msgspec's encoding hook)."""
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"no setting is written from {value!r}")
