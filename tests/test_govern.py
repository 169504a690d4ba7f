"""The govern command: tables, files, alarms, the video, mistakes."""

import csv
import re
import shutil
from pathlib import Path

import cv2
import pytest

from rlgen import govern
from rlgen.agents.disentangled.visited import VisitedLatents
from rlgen.govern import main
from rlgen.train import main as train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short run of a disentangled agent and one of PPO; copy what you change."""
    folder = tmp_path_factory.mktemp("govern")
    for agent in ("disentangled", "ppo"):
        named = [f"agent={agent}", "env=CartPole-v1", f"run_dir={folder / agent}"]
        short = ["total_timesteps=512", "eval_every=0", "eval_episodes=1"]
        assert train([*named, "preset=smoke", "video=false", *short]) == 0
    return folder


@pytest.fixture
def run(trained: Path, cwd: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The current folder's ``run``: a copy of the disentangled agent's."""
    shutil.copytree(trained / "disentangled", cwd / "run")
    capsys.readouterr()
    return cwd / "run"


@pytest.fixture(autouse=True)
def _wide_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def rows(out: str) -> dict[str, list[str]]:
    """Returns the cells of the printed tables by the name in their first column."""
    found = {}
    for line in out.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃|]", line)][1:-1]
        if len(cells) > 1:
            found[cells[0]] = cells[1:]
    return found


@pytest.mark.usefixtures("run")
def test_own_and_governed_actions_stand_side_by_side(capsys):
    assert main(["run", "set=0:5+1:-5", "episodes=4", "steps=30", "visited=200"]) == 0
    out = capsys.readouterr().out
    table = rows(out)
    assert "CartPole-v1 after 512 steps of training; set=0:5 set=1:-5" in " ".join(out.split())
    assert table["mean over episodes"] == ["own actions", "governed"]
    for name in ("return", "length", "action 0", "action 1", "observation 2"):
        own, governed = map(float, table[name])
        assert own != governed
    assert table["return"] == table["length"]  # as on CartPole
    assert all(re.fullmatch(r"\d+\.\d\d%", cell) for cell in table["alarms"])


@pytest.mark.usefixtures("run")
def test_without_rules_only_the_agents_own_actions_are_shown(capsys):
    assert main(["run", "steps=20", "visited=0"]) == 0
    table = rows(capsys.readouterr().out)
    assert table["mean over episodes"] == ["own actions"]
    assert table["alarms"] == ["0.00%"]


@pytest.mark.usefixtures("run")
def test_a_rule_that_changes_nothing_gives_the_same_episodes(capsys):
    assert main(["run", "clamp=0:-inf:inf", "scale=1:1", "episodes=3", "visited=0"]) == 0
    table = rows(capsys.readouterr().out)
    assert all(own == governed for own, governed in table.values() if own != "own actions")


def test_the_csv_file_has_every_step(run, capsys):
    assert main(["run", "hold=1:2:3", "steps=8", "csv=deep/out.csv", "visited=100"]) == 0
    with Path("deep/out.csv").open(newline="") as file:
        steps = list(csv.DictReader(file))
    assert [int(row["step"]) for row in steps] == [*range(len(steps))]
    assert [row["governed mu 1"] == "2.0" for row in steps] == [s < 3 for s in range(len(steps))]
    assert all(row["governed mu 0"] == row["mu 0"] for row in steps)
    assert float(rows(capsys.readouterr().out)["return"][1]) == sum(
        float(row["reward"]) for row in steps
    )


def test_visited_states_are_learnt_once_and_kept(run, capsys, monkeypatch):
    assert main(["run", "steps=10", "visited=120"]) == 0
    (path,) = (run / "governance").iterdir()
    assert VisitedLatents.load(path).samples >= 120

    def fit(*args, **kwargs):
        raise AssertionError("fitted again")

    first = capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setattr(govern, "_fit_visited", fit)
        assert main(["run", "steps=10", "visited=120"]) == 0
    assert capsys.readouterr().out == first
    path.write_bytes(b"nothing")
    assert main(["run", "steps=10", "visited=120"]) == 0
    assert "fitting anew: " in capsys.readouterr().err
    assert VisitedLatents.load(path).samples >= 120


@pytest.mark.usefixtures("run")
def test_a_sweep_ranks_behaviours_and_the_seed_decides_it(capsys):
    tables = []
    for seed in (1, 1, 0):
        arguments = ["run", "sweep=0:-5:5:3", "episodes=2", "steps=20", "visited=0"]
        assert main([*arguments, f"seed={seed}"]) == 0
        tables.append(capsys.readouterr().out)
    assert "coordinate 0 held at 3 values from -5 to 5" in tables[0]
    table = rows(tables[0])
    assert table["behaviour"] == ["all episodes", "means", "weakest seed", "at -5", "at 5"]
    assert all(-1 <= float(cell) <= 1 for cell in table["action 0"][:3])
    assert tables[0] == tables[1] != tables[2]


def test_a_video_has_the_coordinates_below_the_frames(run, capsys):
    assert main(["run", "set=0:3", "preset=smoke", "steps=6", "video=clips/out.mp4"]) == 0
    assert "video: clips/out.mp4, 6 frames" in capsys.readouterr().err
    video = cv2.VideoCapture("clips/out.mp4")
    frames = [frame for _, frame in iter(video.read, (False, None))]
    video.release()
    assert frames[0].shape == (480, 600, 3)  # CartPole's 400 rows and a fifth below
    orange = (frames[0][400:, :, 2] > 180) & (frames[0][400:, :, 0] < 80)
    assert orange.sum() > 100


def test_the_page_gets_the_governor_and_the_port(run, monkeypatch):
    from rlgen.agents.disentangled import page

    seen = []
    monkeypatch.setattr(page, "serve", lambda *args, **kwargs: seen.append((args, kwargs)))
    assert main(["run", "set=0:3", "preset=smoke", "page=true", "port=7990"]) == 0
    (governor, config), options = seen[0]
    assert [str(rule) for rule in governor.rules] == ["set=0:3"]
    assert config["env"] == "CartPole-v1"
    assert options == {"port": 7990, "deterministic": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "0 runs are named; type one: python -m rlgen.govern RUN"),
        (["rum"], "rum is not a run folder; did you mean 'run'?"),
        (["run", "set=2"], "cannot read the rule set=2; type set=COORDINATE:VALUE[:START]"),
        (["run", "set=9:1"], "set=9:1: coordinate 9 does not exist; this agent has 4: 0 to 1 are "),
        (["run", "sweep=9:-1:1:3"], "set=9:0: coordinate 9 does not exist; this agent has 4"),
        (["run", "sweep=1:-1:1"], "cannot read sweep=1:-1:1; type sweep=COORDINATE:LOW:HIGH:COUNT"),
        (["run", "sweep=1:1:-1:5"], "sweep=1:1:-1:5 is no range; type an existing coordinate"),
        (["run", "clmp=1:1:2"], "unknown option clmp; did you mean 'clamp'?"),
        (["run", "episode=3"], "unknown option episode; did you mean 'episodes'?"),
        (["run", "episodes=0"], "episodes=0 is too small; type episodes=1 or more"),
        (["run", "steps=many"], "steps=many: Value 'many' of type 'str' could not be converted"),
        (["run", "visited=9"], "visited=9 is too small; type 50 or more, or 0 for none"),
        (["run", "which=first"], "which='first' is unknown; allowed: best, last"),
        (["run", "preset=tiny"], "preset='tiny' is unknown; allowed: full, smoke"),
        (["run", "video=out.gif"], "video=out.gif is no .mp4 file; type video=out.mp4"),
        (["run", "csv=out"], "csv=out is no .csv file; type csv=out.csv"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_mistake_is_one_line_and_code_2(capsys, arguments, message):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


def test_an_agent_without_latents_cannot_be_governed(trained, cwd, capsys):
    capsys.readouterr()
    assert main([str(trained / "ppo"), "set=0:1"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: PPO acts by no disentangled latents, so nothing can be governed")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("env", "given", "expected"),
    [
        ("HalfCheetah-v5", {}, {"camera_name": "track"}),
        ("HalfCheetah-v5", {"camera_name": "side"}, {"camera_name": "side"}),
        ("CartPole-v1", {}, {}),
    ],
)
def test_the_camera_follows_the_body_in_mujoco(env, given, expected):
    config = {"env": env, "env_kwargs": given}
    assert govern._with_camera(config)["env_kwargs"] == expected
    assert config["env_kwargs"] is given


def test_help_needs_nothing(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in (*govern.GovernOptions.__dataclass_fields__, "set", "hold", "sweep"):
        if name != "run_root":
            assert f"{name}=" in out
