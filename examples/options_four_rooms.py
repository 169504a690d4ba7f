"""Options in Four Rooms: train PPOC in a plain SB3 script and draw where each option acts.

    python examples/options_four_rooms.py [STEPS] [PICTURE.png]

The map's colours are options: the stronger the colour of a cell, the more its option has it alone.
"""

import sys
from pathlib import Path

from stable_baselines3.common.evaluation import evaluate_policy

from rlgen.agents import PPOC
from rlgen.agents.option_critic.drawings import draw_option_map
from rlgen.agents.option_critic.study import record_options
from rlgen.envs import make_vec


def main(steps: int = 60_000, picture: str = "option_map.png") -> None:
    """Trains, scores and draws."""
    model = PPOC(
        "MlpPolicy",
        make_vec("FourRooms", 16, seed=0),
        n_options=4,
        hellinger_coef=0.05,
        n_steps=64,
        batch_size=256,
        n_epochs=4,
        learning_rate=1e-3,
        ent_coef=0.01,
        seed=0,
        device="cpu",
    )
    model.learn(steps)
    rooms = make_vec("FourRooms", 16, seed=1)
    _, lengths = evaluate_policy(model, rooms, 50, deterministic=False, return_episode_rewards=True)
    record = record_options(model, rooms, steps=10_000)
    draw_option_map(record, Path(picture))
    print(f"{sum(lengths) / len(lengths):.1f} steps to the goal; see {picture}")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*[int(value) for value in given[:1]], *given[1:2])
