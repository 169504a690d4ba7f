"""Recording options of trained agents, restricting them, and drawing them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.agents import A2OC, PPO, PPOC
from rlgen.agents.option_critic.drawings import option_bar, option_colors
from rlgen.agents.option_critic.indicators import durations
from rlgen.agents.option_critic.study import (
    record_options,
    restricted_returns,
    study_options,
)
from rlgen.core.errors import UserError
from rlgen.envs import make_vec


def agent(env: str = "FourRooms", **more) -> PPOC:
    vec = make_vec(env, 3, seed=0)
    return PPOC("MlpPolicy", vec, n_steps=16, batch_size=16, n_options=3, seed=0, **more)


def test_a_record_is_what_was_played():
    model = agent()
    record = record_options(model, make_vec("FourRooms", 3, seed=1), 300)
    assert record.options.shape == (100, 3)
    assert record.starts[0].all()
    assert durations(record)[0].sum() == 300
    with torch.no_grad():
        outputs = model.policy.option_outputs(torch.from_numpy(record.states[5]))
    np.testing.assert_allclose(record.q[5], outputs.values.numpy(), atol=1e-6)
    np.testing.assert_allclose(record.parameters[5], outputs.parameters.numpy(), atol=1e-6)
    np.testing.assert_allclose(record.option_probs.sum(-1), 1, atol=1e-5)
    assert record.terminated.any()
    assert set(np.unique(record.rewards)) <= {0.0, 1.0}


def test_states_without_numbers_become_clusters():
    record = record_options(agent("Pendulum-v1"), make_vec("Pendulum-v1", 2, seed=1), 200)
    assert record.states is not None
    assert 2 < len(np.unique(record.states)) <= 64
    assert record.log_std is not None
    assert record.log_std.shape == (3, 1)
    assert record.actions.shape == (100, 2, 1)


def test_restricted_agents_use_what_they_may():
    model = agent()
    seen = []
    plain = model.policy.enter

    def spy(*arguments):
        options, ended = plain(*arguments)
        seen.append((model.policy.allowed, set(options)))
        return options, ended

    model.policy.enter = spy
    kwargs = {"env_kwargs": {"goal_after": 1}}
    result = restricted_returns(model, make_vec("FourRooms", 3, seed=1, **kwargs), 3)
    assert len(result["only"]) == len(result["without"]) == 3
    allowed_of = [set(np.flatnonzero(a)) for a, _ in seen if a is not None]
    assert {frozenset(a) for a in allowed_of} == {
        frozenset(a) for a in ({0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2})
    }
    assert all(used <= set(np.flatnonzero(a)) for a, used in seen if a is not None)
    assert model.policy.allowed is None


@pytest.mark.parametrize("env", ["FourRooms", "CartPole-v1"])
def test_a_study_gives_numbers_and_pictures(env: str, tmp_path: Path):
    record = record_options(agent(env), make_vec(env, 2, seed=1), 200)
    numbers, of_options, pictures = study_options(record, tmp_path, rooms=env == "FourRooms")
    assert 0 < numbers["hellinger_mean"] < 1
    assert of_options["share"].sum() == pytest.approx(1)
    names = {path.name for path in pictures}
    assert names == {"distances.png", "timeline.png"} | (
        {"map.png"} if env == "FourRooms" else set()
    )
    for path in pictures:
        assert np.ptp(np.asarray(Image.open(path).convert("L"))) > 100


def test_the_bar_shows_the_options_of_the_last_steps():
    bar, frame = option_bar(3, pixels=4), np.zeros((21, 12, 3), np.uint8)
    for option in (0, 0, 1, 2):
        shown = bar(frame, (np.array([option]),))
    assert len(shown) % 2 == 0
    assert (shown[:21] == 0).all()
    row = shown[-1]
    assert [tuple(row[x]) for x in (0, 4, 8)] == [
        tuple(np.rint(option_colors(3)[o])) for o in (0, 1, 2)
    ]


def test_agents_without_options_are_refused():
    model = PPO("MlpPolicy", make_vec("CartPole-v1", 2), n_steps=8, batch_size=16)
    with pytest.raises(UserError, match="PPO has no options"):
        record_options(model, make_vec("CartPole-v1", 2), 10)


def test_a_cnn_is_recorded_too():
    model = A2OC("CnnPolicy", make_vec("Breakout", 2, seed=0), n_options=2, n_steps=4)
    record = record_options(model, make_vec("Breakout", 2, seed=0), 8)
    assert record.parameters.shape == (4, 2, 2, 4)
