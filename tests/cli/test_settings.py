"""Settings are checked when they are read: names, ranges, the file's form; and what is secret is not shown."""

from pathlib import Path

import pytest

from streams.settings import Settings, SettingsError, load, without_password

SECRET = "secret-of-the-test"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal_of(environment: dict[str, str], file: str | None = None) -> str:
    """What is said of these variables and this settings file."""
    if file is not None:
        Path("aftersales.yaml").write_text(file)
    with pytest.raises(SettingsError) as refusal:
        load(environment)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("kafka_port", "80000", "0 to 65535"),
        ("kafka_port", "-5", "0 to 65535"),
        ("clickhouse_port", "65536", "0 to 65535"),
        ("partitions", "-3", "0 to 1000"),
        ("partitions", "many", "0 to 1000"),
        ("replication_factor", "0", "1 to 100"),
        ("session_timeout_s", "nan", "0.1 to 86400"),
        ("session_timeout_s", "-1", "0.1 to 86400"),
        ("deadline_s", "inf", "0.1 to 86400"),
        ("kafka_heap", "lots", "256m"),
        ("kafka_heap", "0m", "256m"),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    refusal = refusal_of({f"AFTERSALES_{name.upper()}": value})
    assert refusal.startswith(f"{name} is {value!r}: allowed is ")
    assert allowed in refusal


def test_numbers_within_their_range_are_read() -> None:
    settings = load({"AFTERSALES_KAFKA_PORT": "9092", "AFTERSALES_DEADLINE_S": "1.5", "AFTERSALES_KAFKA_HEAP": "1g"})
    assert (settings.kafka_port, settings.deadline_s, settings.kafka_heap) == (9092, 1.5, "1g")


def test_two_servers_on_one_port_are_refused() -> None:
    assert "kafka_port and clickhouse_port are both 9000" in refusal_of(
        {"AFTERSALES_KAFKA_PORT": "9000", "AFTERSALES_CLICKHOUSE_PORT": "9000"}
    )
    assert load({"AFTERSALES_KAFKA_PORT": "0", "AFTERSALES_CLICKHOUSE_PORT": "0"}).kafka_port == 0


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("AFTERSALES_BOOTSTRAP_SERVER", "AFTERSALES_BOOTSTRAP_SERVERS"),
        ("AFTERSALES_SETTING", "AFTERSALES_SETTINGS"),
        ("AFTERSALES_CLICKHOUSE_DNS", "AFTERSALES_CLICKHOUSE_DSN"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_name(variable: str, meant: str) -> None:
    assert f"{variable} is no setting: did you mean {meant}?" in refusal_of({variable: "x"})


def test_a_variable_like_no_setting_is_refused() -> None:
    assert "AFTERSALES_QQQQ is no setting" in refusal_of({"AFTERSALES_QQQQ": ""})


def test_a_misspelt_name_in_the_file_is_refused_with_the_nearest_one() -> None:
    refusal = refusal_of({}, "bootstrap_server: kafka:9092\n")
    assert "bootstrap_server in aftersales.yaml is no setting: did you mean bootstrap_servers?" in refusal


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("namespace: a\npartitions: 6\nnamespace: b\n", "line 3: 'namespace' is there twice"),
        ("1: a\nnamespace: b\n", "1 is no name of a setting"),
        ("namespace: [\n", "line 2: this is no YAML"),
        ("namespace: 2026-13-45\n", "line 1: '2026-13-45' can't be read"),
        ("[" * 5000, "nested too deeply"),
        ("namespace: \x07\n", "no YAML"),
        ("- namespace\n", "must hold `name: value` lines"),
    ],
)
def test_a_settings_file_that_cannot_be_meant_is_refused_in_one_sentence(file: str, said: str) -> None:
    refusal = refusal_of({}, file)
    assert said in refusal
    assert "aftersales.yaml" in refusal


@pytest.mark.parametrize("key", ["k", "fifteen bytes..", " " * 40])
def test_a_pseudonym_key_that_can_be_guessed_is_refused(key: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(key + "\n")
    for settings in (Settings(pseudonym_key=key), Settings(pseudonym_key_file=str(file))):
        with pytest.raises(SettingsError, match="at least 16 bytes") as refusal:
            settings.pseudonym_secret()
        assert repr(key) not in str(refusal.value)


def test_a_pseudonym_key_of_16_bytes_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sixteen bytes ..\n")
    assert Settings(pseudonym_key_file=str(file)).pseudonym_secret() == b"sixteen bytes .."
    assert Settings(pseudonym_key="sixteen bytes ..").pseudonym_secret() == b"sixteen bytes .."


@pytest.mark.parametrize(
    "dsn",
    [
        f"http://u:{SECRET}@h:1/x",
        f"http://u:{SECRET}/pw@h:1/x",
        f"http://u:pw/{SECRET}@h:1/x",
        f"http://u:{SECRET}#pw@h:1/x",
        f"http://u:pw@{SECRET}@h:1/x",
        f"u:{SECRET}@h:1",
        f"//u:{SECRET}@h:1",
        f"http://h:1/x?user=u&password={SECRET}",
        f"http://u:{SECRET}@[::1/x",
        f"http://u:{SECRET}@h:port/x",
        f"{SECRET}",
    ],
)
def test_no_password_of_a_dsn_is_shown_however_it_is_written(dsn: str) -> None:
    assert SECRET not in without_password(dsn)
    assert SECRET not in Settings(clickhouse_dsn=dsn).shown()["clickhouse_dsn"]
    assert SECRET not in Settings(maven_url=dsn).shown()["maven_url"]


def test_a_dsn_is_shown_without_its_password() -> None:
    assert without_password("http://u:pw@h:1/x") == "http://u:***@h:1/x"
    assert without_password("https://h:8443/x") == "https://h:8443/x"
    assert without_password("u:pw@h:1") == "(set)"
    assert without_password("") == ""


def test_a_dsn_with_a_broken_host_is_refused() -> None:
    refusal = refusal_of({"AFTERSALES_CLICKHOUSE_DSN": f"http://u:{SECRET}@[::1/x"})
    assert "clickhouse_dsn" in refusal
    assert SECRET not in refusal
