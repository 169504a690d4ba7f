"""Plain network modules that several method families share."""

from rlgen.nets.minatar import MinAtarCNN
from rlgen.nets.nature import PackedNatureCNN

__all__ = ["MinAtarCNN", "PackedNatureCNN"]
