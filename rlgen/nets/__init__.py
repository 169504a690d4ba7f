"""Plain network modules that several method families share."""

from rlgen.nets.minatar import MinAtarCNN
from rlgen.nets.nature import PackedNatureCNN
from rlgen.nets.towers import Tower, two_towers

__all__ = ["MinAtarCNN", "PackedNatureCNN", "Tower", "two_towers"]
