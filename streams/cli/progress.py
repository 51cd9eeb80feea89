"""A progress bar on standard error around the work of a command; nothing where no person looks on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar_of(things: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to be called with (done, all there is); the bar appears with its first call."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task(things, total=None, start=True)

    def tell(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bar.stop()
