"""What long work tells about itself, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias

Advance: TypeAlias = Callable[[], None]
"""Called once per item done."""


class Progress(Protocol):
    """Listens to work that goes through named stages."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Enter a stage of `total` items, if it has countable ones."""
        ...

    def note(self, message: str) -> None:
        """A remark that the user should see."""
        ...

    def detail(self, message: str) -> None:
        """A fact for those who want to know more."""
        ...


class Silent:
    """Listens to nothing: the default of the Python API."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Do nothing."""
        yield lambda: None

    def note(self, message: str) -> None:
        """Do nothing."""

    def detail(self, message: str) -> None:
        """Do nothing."""


SILENT = Silent()
