"""The bars of a fetch on a terminal: the whole of it, and under that the files on their way."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column
from rich.text import Text

from nimctl.cache import (
    FetchAdvanced,
    FetchStarted,
    FileAdvanced,
    FileDone,
    FileStarted,
    FileVerified,
    Waiting,
)
from nimctl.cache import Progress as FetchEvent
from nimctl.cache.others import OtherFetch
from nimctl.cli.progress import Outcome, describe_event

RATE_OVER_S = 10.0
LEAST_NAME, MOST_NAME = 14, 40
_OTHER_COLUMNS = 64


@contextmanager
def open_bars() -> Iterator["BarDisplay"]:
    """Bars on standard error that vanish at the end; what was said stays above them."""
    console = Console(stderr=True)
    name = min(max(console.width - _OTHER_COLUMNS, LEAST_NAME), MOST_NAME)
    bars = Progress(
        _NameColumn(name),
        BarColumn(bar_width=None if console.width > 100 else 10),
        _Sizes(table_column=Column(no_wrap=True, justify="right")),
        _WhileItGrows(TransferSpeedColumn()),
        _WhileItGrows(TimeRemainingColumn(compact=True)),
        TextColumn("{task.fields[state]}", table_column=Column(no_wrap=True)),
        console=console,
        transient=True,
        expand=console.width > 100,
        speed_estimate_period=RATE_OVER_S,
    )
    with bars:
        yield BarDisplay(bars)


class BarDisplay:
    """One bar for the whole fetch and one for each file that is being brought or hashed."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._total = bars.add_task("looking up", total=None, state="")
        self._files: dict[str, TaskID] = {}
        self._count = self._verified = 0
        self._outcome = Outcome()

    def tell(self, event: FetchEvent) -> None:
        """Take an event."""
        for sentence in (describe_event(event), self._outcome.describe(event)):
            if sentence is not None:
                self._bars.console.print(sentence, markup=False, highlight=False, soft_wrap=True)
        match event:
            case Waiting():
                self._bars.update(self._total, description="waiting", state="")
            case FetchStarted(files=files, total_bytes=total_bytes, done_bytes=done_bytes):
                self._begin(files, total_bytes, done_bytes)
            case FetchAdvanced(total_bytes=total_bytes, done_bytes=done_bytes):
                self._bars.update(self._total, total=total_bytes, completed=done_bytes)
            case FileStarted(path=path, size_bytes=size_bytes, done_bytes=done_bytes):
                self._show(path, size_bytes, done_bytes)
            case FileAdvanced(path=path, done_bytes=done_bytes) if path in self._files:
                self._advance(self._files[path], done_bytes)
            case FileVerified(path=path) if path in self._files:
                self._bars.update(self._files[path], state="verified")
            case FileDone(path=path):
                self._end(path)
            case _:
                pass

    def tell_other(self, other: OtherFetch) -> None:
        """Take how far the process is that is waited for."""
        self._bars.update(
            self._total,
            total=other.total_bytes or None,
            completed=other.done_bytes,
            state="" if other.pid is None else f"by pid {other.pid}",
        )

    def _begin(self, files: int, total_bytes: int, done_bytes: int) -> None:
        self._count, self._verified = files, 0
        self._bars.reset(
            self._total, total=total_bytes, completed=done_bytes, description="total", state=""
        )
        self._tell_verified()

    def _tell_verified(self) -> None:
        self._bars.update(self._total, state=f"{self._verified}/{self._count} verified")

    def _show(self, path: str, size_bytes: int | None, done_bytes: int) -> None:
        if path not in self._files:
            self._files[path] = self._bars.add_task(
                path, total=size_bytes, completed=done_bytes, state=""
            )

    def _advance(self, task: TaskID, done_bytes: int) -> None:
        total = next(one.total for one in self._bars.tasks if one.id == task)
        state = "hashing" if total is not None and done_bytes >= total else ""
        self._bars.update(task, completed=done_bytes, state=state)

    def _end(self, path: str) -> None:
        self._verified += 1
        self._tell_verified()
        task = self._files.pop(path, None)
        if task is not None:
            self._bars.remove_task(task)


class _NameColumn(ProgressColumn):
    """What a bar is about; of a long path what tells one shard from the next."""

    def __init__(self, width: int) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._width = width

    def render(self, task: Task) -> Text:
        """The name."""
        name = task.description
        if len(name) > self._width:
            name = name.rpartition("/")[2].removesuffix(".safetensors")
        return Text(name if len(name) <= self._width else f"…{name[1 - self._width :]}")


class _Sizes(DownloadColumn):
    """How much of how much, once that is known."""

    def render(self, task: Task) -> Text:
        """The sizes, or nothing."""
        return Text("") if task.total is None else super().render(task)


class _WhileItGrows(ProgressColumn):
    """A column of the bars that are not full yet: what is being hashed has no rate."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__(table_column=Column(no_wrap=True, justify="right"))
        self._column = column

    def render(self, task: Task) -> Text:
        """The column, or nothing."""
        if task.total is None or task.completed >= task.total:
            return Text("")
        shown = self._column.render(task)
        return shown if isinstance(shown, Text) else Text(str(shown))
