"""A2OC and PPOC: equality with the base for one option, credit, gradients, SB3's protocol."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from rlgen.agents import A2C, A2OC, PPO, PPOC, HellingerRegularizer
from rlgen.agents.option_critic.policy import OptionPolicy
from rlgen.core.errors import UserError
from rlgen.envs import make_vec

PPO_ARGUMENTS: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 3, "ent_coef": 0.01}
A2C_ARGUMENTS: dict[str, Any] = {"n_steps": 5, "ent_coef": 0.01}
PAIRS = [(PPO, PPOC, PPO_ARGUMENTS), (A2C, A2OC, A2C_ARGUMENTS)]
OURS = [(PPOC, PPO_ARGUMENTS), (A2OC, A2C_ARGUMENTS)]


def never_end(model: A2OC | PPOC) -> None:
    """Sets beta = 0 everywhere."""
    torch.nn.init.constant_(model.policy.termination_net.bias, -1e9)


def always_end(model: A2OC | PPOC) -> None:
    torch.nn.init.constant_(model.policy.termination_net.bias, 1e9)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize(("base", "ours", "arguments"), PAIRS)
def test_one_option_that_never_ends_is_the_base_bit_for_bit(base, ours, arguments, env):
    arguments = {**arguments, "ent_coef": 0.01 if env == "CartPole-v1" else 0.0}
    models = []
    for algorithm in (base, ours):
        more: dict[str, Any] = {} if algorithm is base else {"n_options": 1}
        # A tight norm, so that gradients are clipped on both sides.
        model = algorithm(
            "MlpPolicy", make_vec(env, 4, seed=3), seed=3, max_grad_norm=0.05, **arguments, **more
        )
        if algorithm is ours:
            never_end(model)
        models.append(model.learn(640))
    theirs, state = models[0].policy.state_dict(), models[1].policy.state_dict()
    for name, weight in theirs.items():
        assert torch.equal(weight, state[name].reshape(weight.shape)), name
    assert np.array_equal(models[0].rollout_buffer.returns, models[1].rollout_buffer.returns)


@pytest.mark.parametrize(("ours", "arguments"), OURS)
def test_options_that_never_end_last_an_episode(ours, arguments):
    model = ours("MlpPolicy", make_vec("CartPole-v1", 4, seed=0), seed=0, n_options=3, **arguments)
    never_end(model)
    model.collect_rollouts(*rollout_arguments(model))
    options, tested = model._records["options"], model._records["tested"]
    assert not model._records["terminated"].any()
    kept = options[1:] == options[:-1]
    assert kept[tested[1:].astype(bool)].all()
    starts = model.rollout_buffer.episode_starts.astype(bool)
    assert np.array_equal(starts, tested == 0)


@pytest.mark.parametrize(("ours", "arguments"), OURS)
def test_options_that_always_end_are_chosen_at_each_step(ours, arguments):
    model = ours("MlpPolicy", make_vec("CartPole-v1", 4, seed=0), seed=0, n_options=3, **arguments)
    always_end(model)
    model.collect_rollouts(*rollout_arguments(model))
    assert np.array_equal(model._records["terminated"], model._records["tested"])
    assert len(np.unique(model._records["options"])) == 3


def rollout_arguments(model: Any) -> tuple[Any, ...]:
    _, callback = model._setup_learn(1000)
    callback.on_training_start(locals(), globals())
    return model.env, callback, model.rollout_buffer, model.n_steps


@pytest.mark.parametrize(("ours", "arguments"), OURS)
def test_credit_is_call_and_return(ours, arguments):
    """Returns of a rollout, recomputed step by step from what was recorded."""
    cost = 0.25
    model = ours(
        "MlpPolicy",
        make_vec("CartPole-v1", 3, seed=1),
        seed=1,
        n_options=3,
        deliberation_cost=cost,
        gamma=0.9,
        gae_lambda=1.0,
        **{**arguments, "n_steps": 40, **({"batch_size": 40} if ours is PPOC else {})},
    )
    torch.nn.init.normal_(model.policy.value_net.bias, std=2.0)
    model.collect_rollouts(*rollout_arguments(model))
    buffer, records = model.rollout_buffer, model._records
    last = model.rollout_buffer.pack(model._last_obs)
    _, values, _, log_probs = model.network.act_all(last)
    entry = model._entry
    mean = (np.exp(log_probs) * values).sum(1)
    assert buffer.episode_starts[1:].any()  # episodes end inside
    for env in range(3):
        kept_value = values[env, entry.options[env]]
        running = mean[env] if entry.terminated[env] else kept_value
        ended = not entry.tested[env]
        terminated_after = entry.terminated[env]
        for t in range(39, -1, -1):
            # CartPole pays 1 a step; the cost falls on the step before a termination.
            reward = 1.0 - cost * terminated_after
            running = reward + (0.0 if ended else 0.9 * running)
            assert buffer.returns[t, env] == pytest.approx(running, rel=1e-4)
            ended, terminated_after = buffer.episode_starts[t, env], records["terminated"][t, env]
            assert not (ended and terminated_after)


@pytest.mark.parametrize(("ours", "arguments"), OURS)
def test_values_are_those_of_the_options_that_acted(ours, arguments):
    model = ours("MlpPolicy", make_vec("CartPole-v1", 4, seed=0), seed=0, n_options=3, **arguments)
    model.collect_rollouts(*rollout_arguments(model))
    with torch.no_grad():
        outputs = model.policy.option_outputs(model.rollout_buffer.stored.flatten(0, 1))
    options = torch.from_numpy(model._records["options"].reshape(-1))
    rows = torch.arange(len(options))
    expected = outputs.values[rows, options].numpy()
    np.testing.assert_allclose(model.rollout_buffer.values.reshape(-1), expected, atol=1e-5)
    actions = torch.from_numpy(model.rollout_buffer.actions.reshape(-1))
    log_probs = outputs.parameters[rows, options].log_softmax(1)[rows, actions]
    np.testing.assert_allclose(
        model.rollout_buffer.log_probs.reshape(-1), log_probs.numpy(), atol=1e-5
    )


def termination_step(model: Any, values: list[float], cost: float) -> tuple[float, float]:
    """One descent step on the termination loss alone; beta of option 0 before and after."""
    with torch.no_grad():
        model.policy.value_net.weight.zero_()
        model.policy.value_net.bias.copy_(torch.tensor(values))
    model.deliberation_cost = cost
    model._records["entered"][:] = 0
    model._records["tested"][:] = True
    model._tabulate()  # as train does before its gradient steps
    batch = next(model.rollout_buffer.minibatches(None, model.generators["minibatches"]))
    before = model.policy.option_outputs(batch.observations).beta[:, 0].mean().item()
    loss = model.auxiliary_loss(model._evaluate(batch))["termination_loss"]
    bias = model.policy.termination_net.bias
    (grad,) = torch.autograd.grad(loss, bias)
    with torch.no_grad():
        bias -= 0.5 * grad
    after = model.policy.option_outputs(batch.observations).beta[:, 0].mean().item()
    return before, after


@pytest.mark.parametrize(("ours", "arguments"), OURS)
def test_terminations_follow_the_advantage(ours, arguments):
    model = ours(
        "MlpPolicy",
        make_vec("CartPole-v1", 4, seed=0),
        seed=0,
        n_options=2,
        hellinger_coef=0,
        **arguments,
    )
    model.collect_rollouts(*rollout_arguments(model))
    before, after = termination_step(model, [1.0, 0.0], 0.0)
    assert after < before  # a good option goes on
    before, after = termination_step(model, [0.0, 1.0], 0.0)
    assert after > before
    before, after = termination_step(model, [0.0, 1.0], 5.0)
    assert after < before  # but not where choosing is dear


def test_greedy_values_never_lengthen_options_without_a_cost():
    """V >= Q, so the gradient of beta is 0 or upwards: a known effect of greedy pi_Omega."""
    model = A2OC(
        "MlpPolicy", make_vec("CartPole-v1", 4, seed=0), seed=0, n_options=3, option_eps=0.0
    )
    model.collect_rollouts(*rollout_arguments(model))
    model._tabulate()
    batch = next(model.rollout_buffer.minibatches(None, model.generators["minibatches"]))
    loss = model.auxiliary_loss(model._evaluate(batch))["termination_loss"]
    (grad,) = torch.autograd.grad(loss, model.policy.termination_net.bias)
    assert (grad <= 0).all()
    assert (grad < 0).any()


@pytest.mark.parametrize(("eps", "expected"), [(0.0, 3.0), (1.0, 2.0), (0.5, 2.5)])
def test_the_greedy_choice_has_the_value_of_its_exploration(eps: float, expected: float):
    model = A2OC(
        "MlpPolicy", make_vec("CartPole-v1", 1), n_options=3, option_eps=eps, hellinger_coef=0
    )
    with torch.no_grad():
        model.policy.value_net.weight.zero_()
        model.policy.value_net.bias.copy_(torch.tensor([1.0, 3.0, 2.0]))
    value = model.policy.predict_values(torch.zeros(1, 4))
    assert value.item() == pytest.approx(expected)
    log_probs = model.network.act_all(torch.zeros(1, 4))[3]
    assert (np.exp(log_probs) * [1.0, 3.0, 2.0]).sum() == pytest.approx(expected)


@pytest.mark.parametrize(("ours", "arguments"), OURS)
@pytest.mark.parametrize("coef", [0.5, -0.5])
def test_the_regularizer_moves_the_options(ours, arguments, coef):
    distances = []
    for value in (0.0, coef):
        model = ours(
            "MlpPolicy",
            make_vec("CartPole-v1", 4, seed=0),
            seed=0,
            n_options=3,
            hellinger_coef=value,
            learning_rate=1e-2,
            **arguments,
        )
        torch.manual_seed(0)
        torch.nn.init.normal_(model.policy.action_net.bias, std=0.5)
        model.learn(1200)
        distances.append(model._distance())
    assert (distances[1] - distances[0]) * coef > 0.01


@pytest.mark.parametrize(("ours", "arguments"), OURS)
def test_saved_and_loaded_it_plays_the_same(ours, arguments, tmp_path):
    env = make_vec("CartPole-v1", 2, seed=0)
    model = ours("MlpPolicy", env, seed=0, n_options=3, **arguments).learn(200)
    model.save(tmp_path / "model.zip")
    loaded = ours.load(tmp_path / "model.zip", env=env)
    assert loaded.n_options == 3
    observations = env.reset()
    for _ in range(3):
        state = (np.array([0, 2]),)
        starts = np.zeros(2, bool)
        ours_now = model.predict(observations, state, starts, deterministic=True)
        theirs = loaded.predict(observations, state, starts, deterministic=True)
        assert np.array_equal(ours_now[0], theirs[0])
        assert np.array_equal(ours_now[1][0], theirs[1][0])
        observations = env.step(ours_now[0])[0]
    loaded.learn(200)
    saved = model.policy.optimizer.state_dict()["state"]
    assert saved.keys() == loaded.policy.optimizer.state_dict()["state"].keys()


def test_predict_keeps_the_option_until_it_ends():
    model = PPOC("MlpPolicy", make_vec("CartPole-v1", 5), n_options=4, **PPO_ARGUMENTS)
    observations = np.zeros((5, 4), np.float32)
    never_end(model)
    _, state = model.predict(observations)
    for _ in range(20):
        before = state
        _, state = model.predict(observations, state, np.zeros(5, bool))
        assert np.array_equal(state[0], before[0])
    seen = {
        tuple(model.predict(observations, state, np.array([1, 0, 0, 0, 0]))[1][0])
        for _ in range(50)
    }
    assert {options[1:] for options in seen} == {tuple(state[0][1:])}
    assert len({options[0] for options in seen}) == 4
    always_end(model)
    assert len({tuple(model.predict(observations, state)[1][0]) for _ in range(20)}) > 10


def test_a_single_observation_needs_no_batch():
    model = PPOC("MlpPolicy", make_vec("CartPole-v1", 1), **PPO_ARGUMENTS | {"batch_size": 16})
    action, state = model.predict(np.zeros(4, np.float32))
    assert action.shape == ()
    assert state is not None
    assert state[0].shape == (1,)


def test_evaluate_policy_runs_in_sb3s_own_environments():
    model = A2OC("MlpPolicy", "CartPole-v1", n_options=2)
    assert isinstance(model.get_env(), DummyVecEnv)
    mean, _ = evaluate_policy(model.learn(100), model.get_env(), 3, warn=False)
    assert 8 <= mean <= 500


def reached(policy: torch.nn.Module, term: torch.Tensor) -> set[str]:
    """Returns the names of the parameters that a term trains."""
    names, parameters = zip(*policy.named_parameters(), strict=True)
    grads = torch.autograd.grad(term, parameters, allow_unused=True, retain_graph=True)
    return {n for n, g in zip(names, grads, strict=True) if g is not None and g.any()}


def test_gradients_go_where_they_should():
    for ours, trains_trunk in ((A2OC, True), (PPOC, False)):
        arguments = A2C_ARGUMENTS if ours is A2OC else PPO_ARGUMENTS
        model = ours("MlpPolicy", make_vec("CartPole-v1", 4, seed=0), seed=0, **arguments)
        torch.nn.init.normal_(model.policy.termination_net.weight)
        torch.nn.init.normal_(model.policy.action_net.bias)
        model.collect_rollouts(*rollout_arguments(model))
        model._tabulate()
        batch = next(model.rollout_buffer.minibatches(None, model.generators["minibatches"]))
        terms = model.auxiliary_loss(model._evaluate(batch))
        policy = model.policy
        heads = {"termination_net.weight", "termination_net.bias"}
        reached_by_beta = reached(policy, terms["termination_loss"])
        assert heads <= reached_by_beta
        assert (reached_by_beta > heads) == trains_trunk
        by_distance = reached(policy, terms["hellinger_loss"])
        assert {"action_net.weight", "mlp_extractor.policy_net.0.weight"} <= by_distance
        assert not any("value" in n or "termination" in n or "option" in n for n in by_distance)
        assert policy.action_net.weight.shape[0] == 4 * 2
        if ours is PPOC:
            own = {"option_net.weight", "option_net.bias"}
            assert reached(policy, terms["option_policy_loss"]) == own


def test_images_and_continuous_actions_train(tmp_path):
    model = PPOC(
        "MlpPolicy", make_vec("Pendulum-v1", 2, seed=0), n_options=2, **PPO_ARGUMENTS
    ).learn(64)
    assert model.policy.log_std.shape == (2, 1)
    model = A2OC("CnnPolicy", make_vec("Breakout", 2, seed=0), n_options=2, n_steps=4).learn(16)
    assert model.policy.option_net is None
    assert np.isfinite(model._distance())


MISTAKES = [
    ({"n_options": 0}, "n_options=0 is too small; type n_options=1 or more"),
    ({"deliberation_cost": -1}, "deliberation_cost=-1 is no cost"),
    ({"termination_at": "here"}, "allowed: next, current"),
    ({"hellinger_coef": float("nan")}, "hellinger_coef=nan"),
    ({"fast": False}, "has no slow road"),
    ({"use_sde": True, "env": "Pendulum-v1"}, "state-dependent exploration"),
]


@pytest.mark.parametrize(("options", "part"), MISTAKES)
@pytest.mark.parametrize("ours", [A2OC, PPOC])
def test_mistakes(ours, options, part):
    options = dict(options)
    with pytest.raises(UserError) as error:
        ours("MlpPolicy", make_vec(options.pop("env", "CartPole-v1"), 2), **options)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_the_plug_in_needs_options():
    with pytest.raises(UserError, match="ActorCriticPolicy has no options"):
        PPO(
            "MlpPolicy",
            make_vec("CartPole-v1", 2),
            n_steps=8,
            batch_size=16,
            auxiliary_losses=[HellingerRegularizer(0.1)],
        )


def test_a_policy_without_options_is_refused():
    from stable_baselines3.common.policies import ActorCriticPolicy

    with pytest.raises(UserError, match="needs a policy with options, not ActorCriticPolicy"):
        PPOC(ActorCriticPolicy, make_vec("CartPole-v1", 2), **PPO_ARGUMENTS)


def test_dictionaries_are_refused():
    space = gym.spaces.Dict({"a": gym.spaces.Box(-1, 1, (2,))})
    with pytest.raises(UserError, match="cannot use Dict observations; flatten them"):
        PPOC("MultiInputPolicy", FakeEnv(space, gym.spaces.Discrete(2)), **PPO_ARGUMENTS)
    observation = gym.spaces.Box(-1, 1, (2,))
    with pytest.raises(UserError, match="cannot use MultiDiscrete actions; allowed: Box, Discrete"):
        PPOC("MlpPolicy", FakeEnv(observation, gym.spaces.MultiDiscrete([2, 2])), **PPO_ARGUMENTS)


class FakeEnv(gym.Env):
    """Spaces alone."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def test_forward_tells_how_to_act():
    model = A2OC("MlpPolicy", make_vec("CartPole-v1", 2))
    assert isinstance(model.policy, OptionPolicy)
    with pytest.raises(UserError, match="acts by predict"):
        model.policy(torch.zeros(2, 4))


def test_terminations_have_a_learning_rate_of_their_own(tmp_path):
    env = make_vec("CartPole-v1", 2, seed=0)
    model = PPOC("MlpPolicy", env, seed=0, termination_lr=0.0, **PPO_ARGUMENTS)
    heads = [p.clone() for head in model.policy.option_heads for p in head.parameters()]
    trunk = model.policy.action_net.weight.clone()
    model.learn(100).save(tmp_path / "model.zip")
    loaded = PPOC.load(tmp_path / "model.zip", env=env).learn(100)
    for learner in (model, loaded):
        now = [p for head in learner.policy.option_heads for p in head.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(heads, now, strict=True))
        assert not torch.equal(trunk, learner.policy.action_net.weight)
        assert [group["lr"] for group in learner.policy.optimizer.param_groups][1] == 0
