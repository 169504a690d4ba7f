"""The identity: the base of every comparison."""

from rlgen.distill.study.options import NONE
from rlgen.distill.study.techniques.base import TECHNIQUES, Technique


class Identity(Technique):
    """Changes nothing; its second phase goes on with the plain network."""

    name = NONE


TECHNIQUES.register(Identity.name)(Identity)
