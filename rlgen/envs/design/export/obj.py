"""Wavefront OBJ: shared vertices as text, millimetres, z up."""

from rlgen.envs.design.mesh import Mesh


def encode(mesh: Mesh, note: str = "") -> bytes:
    """Returns a mesh as an OBJ file.

    Args:
        mesh: A closed mesh in mm.
        note: Comment lines at the top.
    """
    lines = ["unit: millimetre, z up", *note.splitlines()]
    comments = "".join(f"# {line}\n" for line in lines)
    points = ("v %.7f %.7f %.7f\n" * len(mesh.vertices)) % tuple(mesh.vertices.ravel().tolist())
    faces = ("f %d %d %d\n" * len(mesh)) % tuple((mesh.triangles + 1).ravel().tolist())
    return f"{comments}o design\n{points}{faces}".encode()
