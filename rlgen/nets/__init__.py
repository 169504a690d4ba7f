"""Plain network modules that several method families share."""

from rlgen.nets.design import DesignExtractor
from rlgen.nets.minatar import MinAtarCNN
from rlgen.nets.nature import PackedNatureCNN
from rlgen.nets.towers import Tower, two_towers

__all__ = ["DesignExtractor", "MinAtarCNN", "PackedNatureCNN", "Tower", "two_towers"]
