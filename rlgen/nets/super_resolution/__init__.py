"""Networks that enlarge pictures, as plain modules with named stages."""

from rlgen.nets.super_resolution.edsr import EDSR
from rlgen.nets.super_resolution.srresnet import SRResNet
from rlgen.nets.super_resolution.staged import (
    SCALES,
    SUPER_RESOLVERS,
    SuperResolver,
    make_super_resolver,
)

__all__ = [
    "EDSR",
    "SCALES",
    "SUPER_RESOLVERS",
    "SRResNet",
    "SuperResolver",
    "make_super_resolver",
]
