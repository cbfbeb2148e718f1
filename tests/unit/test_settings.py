"""Settings come from a file and the environment, and wrong ones are told apart and explained."""

from pathlib import Path

import pytest

from deploy.commands.settings import markdown
from deploy.settings import InvalidSettings, Settings, fields, load_settings


def problems(environment: dict[str, str], folder: Path | None = None) -> list[str]:
    """Return what loading complains of."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings(environment, folder=folder)
    return caught.value.problems


def test_nothing_set_gives_the_defaults(tmp_path: Path) -> None:
    """A newcomer needs no settings."""
    assert Settings() == load_settings({"PATH": "/bin"}, folder=tmp_path)


def test_environment_wins_over_file(tmp_path: Path) -> None:
    """The file is for what stays, the environment for this start."""
    (tmp_path / "stockledger.toml").write_text('host = "0.0.0.0"\nport = 9000\n')
    settings = load_settings({"STOCKLEDGER_PORT": "9100"}, folder=tmp_path)
    assert ("0.0.0.0", 9100) == (settings.host, settings.port)


def test_file_is_named_by_the_environment(tmp_path: Path) -> None:
    """STOCKLEDGER_CONFIG names another file, which must then be there."""
    named = tmp_path / "other.toml"
    named.write_text("workers = 3\n")
    assert 3 == load_settings({"STOCKLEDGER_CONFIG": str(named)}).workers
    [problem] = problems({"STOCKLEDGER_CONFIG": str(tmp_path / "absent.toml")})
    assert "absent.toml" in problem
    assert "STOCKLEDGER_CONFIG" in problem


def test_every_wrong_setting_is_named_with_its_fault_and_what_is_right() -> None:
    """All at once, so that an operator mends them in one go."""
    port, days, host = sorted(
        problems(
            {
                "STOCKLEDGER_PORT": "eighty",
                "STOCKLEDGER_IDEMPOTENCY_DAYS": "7",
                "STOCKLEDGER_HOSTT": "x",
            }
        ),
        key=lambda text: ("PORT" not in text, "DAYS" not in text),
    )
    assert "STOCKLEDGER_PORT: 'eighty' is wrong" in port
    assert "0 to 65535" in port
    assert "STOCKLEDGER_IDEMPOTENCY_DAYS: '7' is wrong" in days
    assert "30 to 3650" in days
    assert "Did you mean STOCKLEDGER_HOST?" in host


def test_numbers_in_the_file_are_numbers(tmp_path: Path) -> None:
    """Text is read leniently from the environment, which has nothing else; not from a file."""
    (tmp_path / "stockledger.toml").write_text('port = "9000"\n')
    [problem] = problems({}, tmp_path)
    assert "port" in problem
    assert "expected int, got str" in problem


def test_broken_file_is_told_with_its_line(tmp_path: Path) -> None:
    """TOML's own message says where."""
    (tmp_path / "stockledger.toml").write_text("port = \n")
    [problem] = problems({}, tmp_path)
    assert "line 1" in problem


def test_secrets_are_in_no_message_and_no_representation() -> None:
    """Neither when they are wrong nor when the settings are printed."""
    [problem] = problems({"STOCKLEDGER_JWT_SECRET": "too-short-a-secret"})
    assert "too-short-a-secret" not in problem
    settings = load_settings(
        {
            "STOCKLEDGER_JWT_SECRET": "s3cret" * 8,
            "STOCKLEDGER_BOOTSTRAP_OWNER_PASSWORD": "s3cret-password",
            "STOCKLEDGER_BOOTSTRAP_API_KEY": "s3cret" * 6,
            "STOCKLEDGER_DATABASE_URL": "postgresql://app:s3cret@db/stock?password=s3cret",
        }
    )
    assert "s3cret" not in repr(settings)
    assert "db/stock" in repr(settings)


def test_migration_url_alone_is_refused() -> None:
    """It would leave the service on the embedded database and migrate another."""
    [problem] = problems({"STOCKLEDGER_MIGRATION_DATABASE_URL": "postgresql://db/stock"})
    assert "database_url" in problem


def test_every_setting_is_documented() -> None:
    """The reference page has each with its text."""
    page = markdown()
    for field in fields():
        assert field.description
        assert f"`{field.variable}`" in page


def test_the_reference_page_is_up_to_date() -> None:
    """docs/reference/settings.md is what `stockledger settings --markdown` prints."""
    page = Path(__file__).parents[2] / "docs" / "reference" / "settings.md"
    assert page.read_text(encoding="utf-8") == markdown()
