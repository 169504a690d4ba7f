"""``rlgen.design``: solve, fork, gallery, explain, score and export, and mistakes in one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from rlgen.design import main
from rlgen.envs.design.export import save
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.task.experts import expert
from rlgen.envs.design.task.presets import make_task

BRIEF = """
name = "Desk cup"
operations = ["cylinder", "prism", "hollow"]
[[wishes]]
metric = "height"
at_least = 60
[[wishes]]
metric = "tip"
at_least = 20
[[limits]]
metric = "volume"
at_most = 900
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short search leaves."""
    folder = tmp_path_factory.mktemp("found")
    (folder / "brief.toml").write_text(BRIEF)
    out = str(folder / "cups")
    arguments = ["solve", str(folder / "brief.toml"), "evaluations=40", "count=3", f"out={out}"]
    assert main(arguments) == 0
    return folder


@pytest.fixture
def cup(cwd: Path) -> Path:
    design = Design.from_actions(expert("Vessel").actions)
    design.write_json(cwd / "cup.json", goal=make_task("Vessel").to_dict())
    return cwd / "cup.json"


def page_data(path: Path) -> dict:
    text = path.read_text(encoding="utf-8")
    block = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert block is not None
    return json.loads(block[1])


def test_solve_leaves_designs_page_files_and_card(found: Path) -> None:
    out = found / "cups"
    entries = json.loads((out / "designs.json").read_text())
    data = page_data(out / "index.html")
    assert [d["name"] for d in data["designs"]] == [entry["name"] for entry in entries]
    assert len(entries) == 3
    assert data["designs"][0]["score"] == pytest.approx(entries[0]["score"])
    assert entries[0]["score"] > 0.5
    operations = {op["op"] for e in entries for op in json.loads(e["design"])["ops"]}
    assert operations <= {"cylinder", "prism", "hollow"}
    assert len(list((out / "files").glob("01-*"))) == 9
    assert (out / "construction.gif").stat().st_size > 1000
    card = (out / "card.md").read_text()
    assert card.startswith("# Designs for Desk cup")
    assert "40 designs evaluated by cem" in card
    assert card.count("\n| 0") == 3


def test_the_same_seed_leaves_the_same_designs(found: Path, cwd: Path) -> None:
    arguments = ["solve", str(found / "brief.toml"), "evaluations=40", "count=3", "out=again"]
    assert main(arguments) == 0
    again, first = (
        json.loads((p / "designs.json").read_text()) for p in (Path("again"), found / "cups")
    )
    assert again == first


@pytest.mark.slow
def test_random_designs_of_a_task(cwd: Path, capsys) -> None:
    assert main(["solve", "Mast", "agent=random", "level=easy", "preset=smoke"]) == 0
    told = capsys.readouterr().err
    assert "of 150 designs" in told
    assert len(json.loads(Path("designs/mast-easy-random/designs.json").read_text())) == 4


def test_fork_keeps_the_first_operations(cup: Path) -> None:
    assert main(["fork", "cup.json", "keep=1", "evaluations=10", "count=2", "out=forks"]) == 0
    wanted = json.loads(cup.read_text())["ops"][0]
    entries = json.loads(Path("forks/designs.json").read_text())
    assert len(entries) == 2
    for entry in entries:
        saved = json.loads(entry["design"])
        assert saved["ops"][0] == wanted
        assert saved["seed_design"]["steps"] == 1


def test_a_gallery_of_runs_pins_and_rescores(found: Path, cup: Path, capsys) -> None:
    assert main(["gallery", str(found / "cups"), "out=page", "pin=cup.json", "task=Vessel"]) == 0
    designs = page_data(Path("page/index.html"))["designs"]
    assert {design["group"] for design in designs} == {"cups", "pinned"}
    assert [d["name"] for d in designs if d["pinned"]] == ["cup"]
    assert max(d["score"] for d in designs) == pytest.approx(1.0)
    assert main(["gallery", str(found), "count=2"]) == 0
    assert "showing 2 of 3 designs; type count=3 for all" in capsys.readouterr().err


def test_explain_prints_a_row_per_operation(cup: Path, capsys) -> None:
    assert main(["explain", "cup.json"]) == 0
    table = capsys.readouterr().out
    assert "cylinder add: radius_low 41.0" in table
    assert "hollow: wall 2.2" in table
    assert "without it" in table
    assert "+1.000" in table  # nothing is left without the body
    assert main(["explain", "cup.json", "brief=Stool"]) == 0
    assert "for Stool" in capsys.readouterr().out


def test_score_of_an_own_model_beside_found_ones(found: Path, cup: Path, capsys) -> None:
    assert main(["export", "cup.json", "mine.stl"]) == 0
    brief = str(found / "brief.toml")
    arguments = ["score", "mine.stl", "cup.json", brief, f"beside={found}/cups", "out=page"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "height >= 60 mm" in shown.out
    assert "1 of your own beside 4 designs" in shown.err
    designs = page_data(Path("page/index.html"))["designs"]
    assert [d["name"] for d in designs if d["own"]] == ["mine"]
    mine, same = (next(d for d in designs if d["name"] == name) for name in ("mine", "cup"))
    assert mine["score"] == pytest.approx(same["score"])


def test_score_by_what_a_design_was_made_for(cup: Path, capsys) -> None:
    assert main(["score", "cup.json"]) == 0
    assert "for Vessel" in capsys.readouterr().out
    assert main(["score", "cup.json", "Vessel", "level=hard"]) == 0
    assert "for Vessel-hard" in capsys.readouterr().out


def test_export_writes_every_format(cup: Path) -> None:
    names = [f"out.{kind}" for kind in ("step", "stl", "glb", "3mf", "obj", "scad", "py", "json")]
    assert main(["export", "cup.json", *names]) == 0
    assert all(Path(name).stat().st_size > 100 for name in names)
    assert main(["export", "out.stl", "again.3mf"]) == 0
    assert Path("again.3mf").is_file()


@pytest.mark.slow
def test_an_agent_designs(cwd: Path, capsys) -> None:
    from rlgen.train import main as train

    short = ["total_timesteps=64", "n_envs=2", "agent.n_steps=8", "agent.batch_size=16"]
    short += ["agent.n_epochs=1", "eval_every=0", "eval_episodes=2", "video=false"]
    short += ["env_kwargs.horizon=4", "run_dir=run"]
    assert train(["agent=ppo", "env=Mast", *short]) == 0
    assert Path("run/designs/index.html").is_file()
    for out in "ab":
        asked = ["agent=run", "evaluations=12", "count=2", f"out={out}"]
        assert main(["solve", "Mast", *asked]) == 0
    first, again = (json.loads(Path(f"{name}/designs.json").read_text()) for name in "ab")
    assert first == again
    Path("agent.zip").write_bytes(b"pickled code")
    capsys.readouterr()
    assert main(["solve", "Mast", "agent=agent.zip"]) == 2
    assert "name the run folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_search_keeps_what_it_found(cwd: Path) -> None:
    command = [sys.executable, "-m", "rlgen.design", "solve", "Mast", "minutes=5", "out=cut"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 120
        while not Path("cut").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(5)
        os.kill(process.pid, signal.SIGINT)
        told = process.communicate(timeout=120)[1]
    assert process.returncode == 130, told
    assert json.loads(Path("cut/designs.json").read_text())
    assert Path("cut/index.html").is_file()
    assert "Traceback" not in told


def test_help_names_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for word in ("solve", "fork", "gallery", "explain", "score", "export", "preset=smoke"):
        assert f"  {word}" in text


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys; from rlgen.design import main; main(['--help'])\n"
        "print({'torch', 'numpy', 'manifold3d', 'hydra'} & set(sys.modules), file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.strip() == "set()"


MISTAKES = [
    ([], "no command is given; type solve"),
    (["solv"], "unknown command 'solv'; did you mean 'solve'"),
    (["solve"], "0 names are given; type one brief or task"),
    (["solve", "Vesel"], "did you mean 'Vessel'"),
    (["solve", "nowhere.toml"], "cannot read nowhere.toml"),
    (["solve", "metric.toml"], "metric.toml: wish 1: unknown metric 'capacty'; did you mean 'cap"),
    (["solve", "limits.toml"], "limits.toml: wish capacity >= 300 ml is impossible"),
    (["solve", "empty.toml"], "it is empty"),
    (["solve", "MultiGoal"], "MultiGoal has no fixed wishes"),
    (["solve", "Vessel", "agent=cam"], "agent=cam is no search and no run; did you mean 'cem'"),
    (["solve", "Vessel", "agent=broken.stl"], "broken.stl is a file; name the run folder"),
    (["solve", "Vessel", "count=0"], "count=0 is too small"),
    (["solve", "Vessel", "minutes=-1"], "minutes=-1.0 is too small"),
    (["solve", "Vessel", "cuont=3"], "unknown option cuont; did you mean 'count'"),
    (["solve", "Vessel", "level=harder"], "level"),
    (["solve", "Vessel", "preset=smok"], "allowed: full, smoke"),
    (["solve", "Vessel", "out=full"], "out=full holds designs already"),
    (["solve", "Vessel", "out=broken.stl/x"], "cannot make the folder"),
    (["solve", "limits.toml", "level=hard"], "level=hard belongs to a task's name"),
    (["fork", "cup.json", "keep=7"], "keep=7 is not possible; the design has 2 operations"),
    (["fork", "nowhere.json"], "cannot read nowhere.json"),
    (["fork", "edited.json"], "edited.json: its operations give another mesh"),
    (["explain", "outside.json"], "outside.json: operation 1: k is"),
    (["explain", "broken.stl"], "is not"),
    (["explain", "bare.json"], "bare.json does not tell what it was made for; type brief=Vessel"),
    (["score", "broken.stl", "Vessel"], "broken.stl"),
    (["score", "open.obj", "Vessel"], "open.obj is not closed"),
    (["score", "Vessel"], "type a model and a brief or task"),
    (["score", "open.obj"], "open.obj is not closed"),
    (["score", "cup.json", "Vessel", "beside=nowhere"], "nowhere does not exist"),
    (["gallery"], "no folder is named"),
    (["gallery", "nowhere"], "nowhere does not exist"),
    (["gallery", "full"], "no design in full"),
    (["gallery", "cup.json", "pin=nobody"], "pinned design 'nobody' is not in the gallery"),
    (["export", "cup.json"], "type a design and a file to write"),
    (["export", "cup.json", "cup.dwg"], "'.dwg'"),
    (["export", "open.obj", "cup.stl"], "open.obj is not closed"),
]


@pytest.mark.parametrize(("arguments", "part"), MISTAKES, ids=[part[:40] for _, part in MISTAKES])
def test_mistakes_are_told_in_one_line(cup: Path, capsys, arguments: list[str], part: str) -> None:
    wish = '[[wishes]]\nmetric = "capac{}ty"\nat_least = 300\n'
    Path("metric.toml").write_text(wish.format(""))
    Path("limits.toml").write_text(
        wish.format("i") + '[[limits]]\nmetric = "footprint"\nat_most = 30\n'
    )
    Path("empty.toml").touch()
    Path("broken.stl").write_text("solid nothing")
    Path("open.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    data = json.loads(cup.read_text())
    Path("bare.json").write_text(json.dumps({**data, "goal": {}}))
    ops = [{**data["ops"][0], "k": [9999] * 6}]
    Path("outside.json").write_text(json.dumps({**data, "ops": ops}))
    Path("edited.json").write_text(json.dumps({**data, "mesh_sha256": "0" * 64}))
    Path("full").mkdir()
    Path("full/designs.json").write_text("[]")
    before = sorted(str(path) for path in Path().rglob("*"))
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert part in error[-1]
    assert error[-1].startswith("error: ")
    assert len(error) == 1
    assert sorted(str(path) for path in Path().rglob("*")) == before  # nothing lost or left


def test_a_design_of_another_kernel_is_told_and_used(cup: Path, capsys) -> None:
    data = json.loads(cup.read_text()) | {"kernel": "manifold3d 0.1", "mesh_sha256": "0" * 64}
    cup.write_text(json.dumps(data))
    assert main(["explain", "cup.json"]) == 0
    told = capsys.readouterr().err
    assert "note: cup.json was made with manifold3d 0.1" in told
    assert told.count("\n") == 1


def test_pictures_lie_beside_the_files(found: Path) -> None:
    picture = next((found / "cups" / "files").glob("01-*.png"))
    with Image.open(picture) as image:
        assert image.size == (512, 512)


def test_an_own_model_alone_can_be_scored(cup: Path, capsys) -> None:
    save(Design.load(cup).mesh, "mine.obj")
    assert main(["score", "mine.obj", "Vessel"]) == 0
    assert "score" in capsys.readouterr().out
