"""H-net: which task a picture is of, from the picture alone; indices by name in TASK_INDICES."""

from rlgen.continual.hnet.gan import GanIndex
from rlgen.continual.hnet.index import TASK_INDICES, TaskIndex
from rlgen.continual.hnet.prototype import PrototypeIndex
from rlgen.continual.hnet.reconstruction import AutoencoderIndex

__all__ = ["TASK_INDICES", "AutoencoderIndex", "GanIndex", "PrototypeIndex", "TaskIndex"]
