"""Texts of a design that a designer can edit: OpenSCAD and CadQuery."""

from rlgen.envs.design.scripts.cadquery_script import cadquery
from rlgen.envs.design.scripts.openscad import openscad

__all__ = ["cadquery", "openscad"]
