"""A folder of images that several files of tests read."""

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Five images, one colour each, in two folders, among files that are none."""
    root = tmp_path / "paintings"
    for k, name in enumerate(["b/3.png", "a/1.PNG", "a/2.png", "b/4.bmp", "top.png"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10 + k, 8), (k, 2 * k, 3 * k)).save(root / name)
    (root / "a" / "notes.txt").write_text("no image")
    (root / "a" / "._1.png").write_text("no image either")
    return root
