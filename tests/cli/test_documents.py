"""What README.md and docs/ tell a reader to type works, in that order."""

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from connectors.manifest import parse_manifest
from connectors.mapping import check_manifest
from tests.cli.terminal import LONGEST_S, ROOT, blocks, clean_environment, processes_of, run

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
INSTEAD = {
    "make demo": "aftersales demo --seconds 1",
    "make test": "",  # it is what runs this test
}
"""What is typed in place of commands that install or test everything."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like a checkout after `make install`, with a directory `.aftersales` of its own."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        if not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    (folder / ".venv").symlink_to(sys.prefix)
    yield folder
    run("down", cwd=folder)
    assert processes_of(folder) == []


def type_in(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block of commands in a shell that ends at the first one that fails."""
    environment = clean_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.engines
def test_commands_of_the_readme_succeed_in_their_order(checkout: Path) -> None:
    commands = [
        "\n".join(INSTEAD.get(line, line) for line in block.splitlines()) for block in blocks(README, "sh", "console")
    ]
    assert any("aftersales demo" in block for block in commands)
    (down,) = (position for position, block in enumerate(commands) if block == "aftersales down")
    for block in commands[:down]:
        type_in(block, checkout)
    for statement in blocks(ROOT / "docs" / "analysts.md", "sql"):
        ended = run("sql", "-", "--format", "csv", cwd=checkout, stdin=statement)
        assert ended.status == 0, f"{statement}\n{ended.err}"
        assert len(list(csv.reader(ended.out.splitlines()))) > 1, f"no rows: {statement}"
    for block in commands[down:]:
        type_in(block, checkout)
    assert processes_of(checkout) == []


def test_the_example_of_an_import_is_a_manifest_that_fits_its_files() -> None:
    page = ROOT / "docs" / "import.md"
    (manifest,) = (parse_manifest(yaml.safe_load(block)) for block in blocks(page, "yaml"))
    check_manifest(manifest)
    files = [next(csv.reader(block.splitlines())) for block in blocks(page, "csv")]
    assert len(files) == len(manifest.sources)


def test_settings_of_the_readme_exist() -> None:
    from streams.settings import Settings

    (block,) = blocks(README, "yaml")
    assert set(yaml.safe_load(block)) <= set(Settings.__struct_fields__)


@pytest.mark.parametrize("page", [README, *DOCS], ids=lambda page: page.name)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_rooms_of_the_map_exist() -> None:
    table = README.read_text().partition("## Where things are")[2]
    rooms = [room for line in table.splitlines() if line.startswith("|") for room in re.findall(r"`([\w/.]+)`", line)]
    assert len(rooms) > 10
    assert all((ROOT / room).exists() for room in rooms)
