"""How closely copies of a design nest.

The metric is a proposal of this project.
"""

from rlgen.envs.design.measure.columns import Columns, cast
from rlgen.envs.design.mesh import Mesh


def nesting_pitch(mesh: Mesh, cell: float = 1.5, columns: Columns | None = None) -> float:
    """Measures the offset at which an identical copy can be lowered onto a design.

    A copy lifted by p does not cut the design where, on every vertical line, its lowest point
    lies at or above the design's highest one. So the pitch is the greatest difference between the
    highest and the lowest crossing of a vertical line: the height for a straight cup, the wall
    thickness measured vertically for a tapered one.

    Args:
        mesh: The design.
        cell: Size of the columns, mm. The true pitch is at least the result.
        columns: Vertical columns of ``mesh`` to use instead of casting anew.

    Returns:
        Millimetres; 0 for an empty mesh. Divide by the height for the nesting ratio.

    Raises:
        UserError: ``cell`` is not positive, or by far too small for the mesh.
    """
    columns = cast(mesh, cell) if columns is None else columns
    if not len(columns):
        return 0.0
    return float((columns.ceiling[columns.last] - columns.floor[columns.first]).max())
