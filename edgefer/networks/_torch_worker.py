"""The other process of `edgefer.networks.torch_apart`: holds a torch module until nobody asks any more."""

from __future__ import annotations

import os
import pickle
import sys
from typing import TYPE_CHECKING, Any

from edgefer.networks.families import filled
from edgefer.networks.torch_apart import portable
from edgefer.runtime.apart import receive, send

if TYPE_CHECKING:
    from edgefer.networks.torch_export import Filled


def main() -> None:
    """Answer questions from standard input; what converters print does not get among the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    module: Filled | None = None
    while (question := receive(sys.stdin.buffer)) is not None:
        what, arguments = pickle.loads(question)
        try:
            returned: Any
            if what == "fill":
                module = filled(*arguments)
                returned = module.spec, module.notes
            else:
                returned = getattr(module, what)(*arguments)
            answer = pickle.dumps((returned, None))
        except Exception as error:  # whatever PyTorch or a converter throws
            answer = portable(error)
        send(answers, answer)
