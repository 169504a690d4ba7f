import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from gallery_items import HOSTILE, Page, box, item
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.envs.design.exhibit.gallery import read_likes, write_gallery
from rlgen.envs.design.exhibit.selection import descriptor, distances
from rlgen.envs.design.mesh import EMPTY_MESH
from rlgen.envs.design.picture.portrait import portrait

UNITS = {"height": "mm", "volume": "cm3", "capacity": "ml"}


def written(tmp_path: Path, items, **options) -> Page:
    return Page(write_gallery(items, tmp_path / "out", "Cups", UNITS, **options))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.array(picture)


def test_the_page_shows_every_design_best_first(tmp_path: Path) -> None:
    page = written(tmp_path, [item("low", 0.2), item("top", 0.9, group="run a"), item("mid", 0.4)])
    assert page.path == tmp_path / "out" / "index.html"
    assert [d["name"] for d in page.data["designs"]] == ["top", "mid", "low"]
    assert page.all("li", "data-design") == ["0", "1", "2"]
    assert page.all("tr", "data-design") == ["0", "1", "2"]
    assert page.all("img", "alt")[:3] == ["top, score 0.90", "mid, score 0.40", "low, score 0.20"]
    assert page.words.count("top") == 2  # card and row


def test_table_cells_carry_numbers(tmp_path: Path) -> None:
    page = written(
        tmp_path, [item("a", 0.9, 30.0), item("b", 0.1, 60.0, metrics={"volume": np.nan})]
    )
    values = page.all("td", "data-value")
    assert values == ["0.9", "60.0", "72.0", repr(1000 / 30), "0.1", "", "", ""]
    assert page.data["designs"][1]["metrics"] == [None, None, None]
    assert [m["name"] for m in page.data["metrics"]] == ["height", "volume", "capacity"]
    assert [m["unit"] for m in page.data["metrics"]] == ["mm", "cm³", "ml"]
    assert [m["better"] for m in page.data["metrics"]] == ["either", "less", "more"]


def test_links_and_pictures_resolve(tmp_path: Path) -> None:
    for suffix in ("glb", "stl"):
        (tmp_path / f"x.{suffix}").write_text(suffix)
    files = {".glb": tmp_path / "x.glb", "STL": tmp_path / "x.stl"}
    frames = [np.full((8, 8, 3), value, np.uint8) for value in (10, 20, 30)]
    page = written(
        tmp_path, [item("Cup No 1", files=files, frames=frames, actions=["a", "b", "c"])]
    )
    design = page.data["designs"][0]
    assert [kind for kind, _ in design["links"]] == ["GLB", "STL"]
    beside = page.path.parent
    for kind, address in design["links"]:
        assert (beside / address).read_text() == kind.lower()
    for address in (design["picture"], design["strip"], *page.all("img", "src")[:2]):
        assert not address or (beside / address).is_file()
    assert pixels(beside / design["strip"]).shape == (8, 24, 4)
    assert (design["frames"], design["actions"]) == (3, ["a", "b", "c"])


def test_embedded_arrays_are_the_mesh(tmp_path: Path) -> None:
    items = [item("a", 0.9, 31.25), item("b", 0.8, 40.1), item("c", 0.1, mesh=EMPTY_MESH)]
    page = written(tmp_path, items)
    for index, one in enumerate(items):
        vertices, triangles = page.mesh(index)
        np.testing.assert_array_equal(vertices, one.mesh.vertices.astype(np.float32))
        np.testing.assert_array_equal(triangles, one.mesh.triangles)


def test_embedded_differences_rank_as_in_python(tmp_path: Path) -> None:
    items = [item(str(k), 0.9 - 0.1 * k, side) for k, side in enumerate((30.0, 90.0, 35.0, 60.0))]
    page = written(tmp_path, items)
    found = np.frombuffer(base64.b64decode(page.data["apart"]), "<u2").reshape(4, 4) / 65535
    values = np.array([list(one.metrics.values()) for one in items])
    expected = distances(values, np.stack([descriptor(one.mesh) for one in items]))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_pinned_designs_lead_and_their_like_follow(tmp_path: Path) -> None:
    items = [item(str(k), 0.9 - 0.1 * k, side) for k, side in enumerate((90.0, 30.0, 35.0, 80.0))]
    page = written(tmp_path, items, pins=["1"])
    assert page.all("li", "data-design") == ["1", "2", "3", "0"]
    assert [d["pinned"] for d in page.data["designs"]] == [False, True, False, False]


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    items = [
        item(name, group=name, actions=[name], metrics={name: 1.0}, satisfactions={name: 1.0})
        for name in HOSTILE
    ]
    plain = written(tmp_path, [item("a", group="g") for _ in HOSTILE])
    page = Page(
        write_gallery(
            items, tmp_path / "bad", HOSTILE[0], {HOSTILE[0]: HOSTILE[1]}, brief=HOSTILE[1]
        )
    )
    tags = {tag for tag, _ in plain.elements}
    assert {tag for tag, _ in page.elements} <= tags | {"p"}
    assert not any(key.startswith("on") for _, found in page.elements for key in found)
    assert len(page.all("script", "type")) == len(plain.all("script", "type"))
    shown = {design["name"] for design in page.data["designs"]}
    assert shown == {*HOSTILE[:-1], "<!--  ? \u2028 "}
    assert HOSTILE[1] in page.words  # the brief, as it was written
    inside = sorted(p.name for p in (tmp_path / "bad" / "index_files").iterdir())
    assert all(name.isascii() and "/" not in name for name in inside)
    assert not (tmp_path / "etc").exists()


def test_only_the_pages_own_script_may_run(tmp_path: Path) -> None:
    page = written(tmp_path, [item("a")])
    digest = base64.b64encode(hashlib.sha256(page.scripts["main"].encode()).digest()).decode()
    policy = next(f["content"] for _, f in page.elements if "http-equiv" in f)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    whole = page.path.read_text(encoding="utf-8")
    assert "http://www.w3.org/2000/svg" in whole
    assert whole.count("http://") == 1  # nothing is fetched from anywhere
    assert "https://" not in whole


def test_plain_backgrounds_become_transparent(tmp_path: Path) -> None:
    drawn = np.full((8, 8, 3), 250, np.uint8)
    drawn[2:6, 2:6] = (90, 80, 70)
    drawn[3, 3] = 250  # a hole in the body shows the page too
    page = written(tmp_path, [item("a", thumbnail=drawn)])
    saved = pixels(page.path.parent / page.data["designs"][0]["picture"])
    np.testing.assert_array_equal(saved[..., 3] == 255, (drawn != 250).all(2))
    np.testing.assert_array_equal(saved[4, 4], (90, 80, 70, 255))


def test_a_missing_picture_is_drawn(tmp_path: Path) -> None:
    page = written(tmp_path, [item("a", thumbnail=None)])
    saved = pixels(page.path.parent / page.data["designs"][0]["picture"])
    np.testing.assert_array_equal(saved, portrait(item("a").mesh))
    assert page.all("img", "width")[0] == "320"


def test_a_gallery_replaces_the_one_before(tmp_path: Path) -> None:
    first = written(tmp_path, [item(str(k)) for k in range(5)])
    before = first.path.read_bytes()
    assert written(tmp_path, [item(str(k)) for k in range(5)]).path.read_bytes() == before
    second = written(tmp_path, [item("only")])
    names = sorted(p.name for p in (second.path.parent / "index_files").iterdir())
    assert names == [".rlgen-gallery", "000-only.png"]
    assert sorted(p.name for p in second.path.parent.iterdir()) == ["index.html", "index_files"]


def test_a_failure_leaves_the_old_page(tmp_path: Path) -> None:
    page = written(tmp_path, [item("good")])
    before = page.path.read_bytes()
    with pytest.raises(UserError, match="does not exist"):
        written(tmp_path, [item("bad", files={"glb": tmp_path / "none.glb"})])
    assert page.path.read_bytes() == before
    assert sorted(p.name for p in page.path.parent.iterdir()) == ["index.html", "index_files"]


def test_a_page_can_have_another_name(tmp_path: Path) -> None:
    page = Page(write_gallery([item("a")], tmp_path / "cups.html", "Cups", {}))
    assert page.path == tmp_path / "cups.html"
    assert page.data["designs"][0]["picture"] == "cups_files/000-a.png"


def test_likes_come_back_as_pins(tmp_path: Path) -> None:
    liked = [{"name": "cup", "group": "run"}, {"name": "mug", "group": ""}]
    path = tmp_path / "liked.json"
    path.write_text(json.dumps({"format": 1, "liked": liked}))
    assert read_likes(path) == ("run/cup", "mug")
    items = [item("other", 0.9), item("cup", group="run", side=80.0), item("mug", side=20.0)]
    page = written(tmp_path, items, pins=read_likes(path))
    assert {d["name"] for d in page.data["designs"] if d["pinned"]} == {"cup", "mug"}


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"liked": [{}]}', '{"liked": 3}'])
def test_broken_lists_of_likes_are_told(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "liked.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=r"Save liked") as caught:
        read_likes(path)
    assert "\n" not in str(caught.value)


def test_nothing_to_show_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one design") as caught:
        written(tmp_path, [])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": float("nan")}, "score=nan"),
        ({"thumbnail": np.zeros((4, 4), np.uint8)}, "picture of shape"),
        ({"thumbnail": np.zeros((4, 4, 3))}, "picture of shape"),
        (
            {"frames": [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]},
            "differ in size",
        ),
        ({"satisfactions": {"wall": 1.5}}, "'wall'=1.5"),
    ],
)
def test_wrong_designs_are_told(changes: dict, told: str) -> None:
    with pytest.raises(UserError, match=told):
        item("a", **changes)


def test_wrong_requests_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pinned design 'Cop'.*did you mean 'Cup'"):
        written(tmp_path, [item("Cup")], pins=["Cop"])
    with pytest.raises(UserError, match=r"better\['height'\]='big'"):
        written(tmp_path, [item("a")], better={"height": "big"})
    (tmp_path / "x.glb").touch()
    with pytest.raises(UserError, match="is no file suffix"):
        written(tmp_path, [item("a", files={"../x": tmp_path / "x.glb"})])
    (tmp_path / "out" / "index_files").mkdir(parents=True)
    with pytest.raises(UserError, match="is no gallery's"):
        written(tmp_path, [item("a")])


def test_a_designers_own_model_is_marked(tmp_path: Path) -> None:
    page = written(tmp_path, [item("mine", is_foreign=True, mesh=box(90, 20, 10)), item("found")])
    assert [d["own"] for d in page.data["designs"]] == [False, True]
    assert page.words.count("your model") == 2
    assert "1 design, 1 of your own, best score 0.50" in page.words
