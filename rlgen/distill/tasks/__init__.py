"""What distilled networks are trained for, by name.

A task brings the data, the networks by name, the loss beside the distillation's, what is measured,
and how a network is saved. Everything else of a run does not know which task it is.
"""

from rlgen.core.registry import Registry
from rlgen.distill.tasks.base import Task
from rlgen.distill.tasks.classification import ClassificationTask
from rlgen.distill.tasks.super_resolution import SuperResolutionTask

__all__ = ["TASKS", "ClassificationTask", "SuperResolutionTask", "Task"]

TASKS: Registry[type[Task]] = Registry("task")

for _task in (ClassificationTask, SuperResolutionTask):
    TASKS.register(_task.name)(_task)
