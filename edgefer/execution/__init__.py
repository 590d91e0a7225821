"""Work on many things at once, wherever that is: threads, processes of this machine, or a Dask cluster.

    outcomes = execute(task, jobs, Local(4), Store(folder), progress, "run")

What is done does not know where; see `execution.task`.
"""

from edgefer.execution.execute import execute
from edgefer.execution.local import Local, executor
from edgefer.execution.store import Store
from edgefer.execution.task import Executor, Job, Outcome, Task

__all__ = ["Executor", "Job", "Local", "Outcome", "Store", "Task", "execute", "executor"]
