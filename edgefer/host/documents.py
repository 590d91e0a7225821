"""JSON files that edgefer's commands write for each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgefer.errors import InputError

Read = TypeVar("Read")


@dataclass(frozen=True)
class Document:
    """A JSON object and where it is from."""

    where: str
    data: Mapping[str, Any]

    def read(self, parse: Callable[[Mapping[str, Any]], Read]) -> Read:
        """What `parse` makes of it.

        Raises:
            InputError: something is missing in it, or of the wrong type.
        """
        try:
            return parse(self.data)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            cause = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{self.where}: damaged: {cause}", remedy="Make it again.") from error


def read_document(path: str | Path, schema: str, maker: str) -> Document:
    """A JSON file of a schema.

    Args:
        path: the file.
        schema: such as `edgefer.evaluation/1`.
        maker: the command that writes such files.

    Raises:
        InputError: it cannot be read, or is something else.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read: {reason}", remedy=f"Make it with `{maker}`.") from error
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise InputError(f"{path}: not a file of schema {schema}", remedy=f"Make it with `{maker}`.")
    return Document(str(path), data)
