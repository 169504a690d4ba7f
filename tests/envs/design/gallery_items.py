"""Designs for a gallery, and a reader of the page that is written."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.envs.design.exhibit.gallery import GalleryItem
from rlgen.envs.design.mesh import Mesh

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1) //",
    "{{data}} & <b>bold</b>",
    "../../../etc/passwd",
    "<!-- \x00 \ud800 \u2028 \u202e",
)


def box(a: float, b: float, c: float, at: tuple[float, float] = (0.0, 0.0)) -> Mesh:
    """A box that stands on the table, centred in x and y at a place."""
    signs = np.indices((2, 2, 2)).reshape(3, 8).T
    vertices = (signs - [0.5, 0.5, 0.0]) * [a, b, c] + [*at, 0.0]
    faces = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    triangles = [t for p, q, r, s in faces for t in ((p, r, q), (p, s, r))]
    mesh = Mesh(vertices, np.array(triangles, np.int64))
    turned = Mesh(mesh.vertices, mesh.triangles[:, ::-1].copy())
    volume = np.einsum("ij,ij->", mesh.corners[:, 0], mesh.area_vectors)
    return mesh if volume > 0 else turned


def item(name: str, score: float = 0.5, side: float = 40.0, **changes: Any) -> GalleryItem:
    """A box as a design: its metrics follow from its side."""
    given: dict[str, Any] = {
        "mesh": box(side, 40.0, 60.0),
        "metrics": {"height": 60.0, "volume": side * 2.4, "capacity": 1000.0 / side},
        "thumbnail": np.full((16, 16, 3), 200, np.uint8),
        "satisfactions": {"volume <= 110 cm3": 1.0, "height": 0.5, "wall": 0.25},
    }
    return GalleryItem(name=name, score=score, **{**given, **changes})


class Page(HTMLParser):
    """The elements of a page, and what its scripts hold."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self.inside: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.elements.append((tag, found))
        self.inside = found.get("id", "main") if tag == "script" else None

    def handle_endtag(self, tag: str) -> None:
        self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside is not None:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data
        elif data.strip():
            self.words.append(data.strip())

    def all(self, tag: str, attribute: str) -> list[str]:
        return [
            found[attribute]
            for name, found in self.elements
            if (name == tag) and (attribute in found)
        ]

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts["data"])

    def mesh(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """float32 (V, 3) and uint32 (T, 3), decoded as the module says they are encoded."""
        raw = base64.b64decode(self.scripts.get(f"mesh-{index}", ""))
        counts = next(f for _, f in self.elements if f.get("id") == f"mesh-{index}")
        n = int(counts["data-vertices"])
        vertices = np.frombuffer(raw[: 12 * n], "<f4").reshape(-1, 3)
        triangles = np.frombuffer(raw[12 * n :], "<u4").reshape(-1, 3)
        assert (len(vertices), len(triangles)) == (n, int(counts["data-triangles"]))
        return vertices, triangles
