"""Short runs of agents that teach in several test files."""

from pathlib import Path

import pytest

from rlgen.agents import session
from rlgen.train import main

AGENT = ["preset=smoke", "eval_every=0", "eval_episodes=1", "video=false", "total_timesteps=512"]
TEACHERS = {
    "g2n": ["agent=g2n", "env=CartPole-v1"],
    "normalised": ["agent=ppo", "env=Pendulum-v1", "agent.normalize=true"],
    "ppoc": ["agent=ppoc", "env=CartPole-v1"],
    "tables": ["agent=option_critic", "env=FourRooms"],
    "disentangled": ["agent=disentangled", "env=CartPole-v1"],
    "binary": ["agent=g2n", "env=MinAtar/Breakout-v1"],
}


class Teachers:
    """Run folders by the kind of teacher, each trained when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        run = self.folder / name
        if not run.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(session.TrainingSession, "_leave_traversal", lambda self: False)
                assert main([*TEACHERS[name], *AGENT, f"run_dir={run}"]) == 0
        return run


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> Teachers:
    """Short runs of each kind of teacher; change none."""
    return Teachers(tmp_path_factory.mktemp("teachers"))
