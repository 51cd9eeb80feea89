"""The ready file: how a worker process tells its supervisor or orchestrator that it is at work."""

from pathlib import Path

from streams.settings import Settings


def show_ready(settings: Settings, ready: bool) -> None:
    """Make the file of the setting `ready_file` appear or go; nothing without the setting."""
    if not settings.ready_file:
        return
    if ready:
        Path(settings.ready_file).touch()
    else:
        Path(settings.ready_file).unlink(missing_ok=True)
