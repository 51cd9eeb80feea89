"""Commands that run other commands say what those said."""

import asyncio
from pathlib import Path

import pytest

from streams.cli.children import run_command
from streams.errors import Refused
from streams.settings import Settings


def test_a_command_that_fails_on_standard_output_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^`aftersales status` failed: no stack is running in .*up --detach"):
        asyncio.run(run_command(Settings(directory=str(tmp_path)), "status"))


def test_a_command_that_is_refused_is_quoted_by_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"^bootstrap_servers is not set"):
        asyncio.run(run_command(Settings(directory=str(tmp_path)), "topics", "apply"))
