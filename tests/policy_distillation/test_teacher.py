"""What teachers say: elites, populations, options."""

import numpy as np
import pytest
import torch

from rlgen.agents import A2OC, G2PPO, PPOC, OptionCritic
from rlgen.core.errors import UserError
from rlgen.envs import make_vec
from rlgen.policy_distillation.distributions import distribution_of
from rlgen.policy_distillation.teacher import (
    ActorTeacher,
    OptionTeacher,
    PopulationTeacher,
    actor_latent,
    make_teacher,
)

STATES = torch.linspace(-1, 1, 24).reshape(6, 4)
NONE, ALL = np.zeros(6, bool), np.ones(6, bool)
OPTIONS = {"teachers": "elite", "temperature": 1.0, "option_target": "active"}


def population(members=3):
    genes = np.random.default_rng(0).integers(0, 2, (members, 8)).astype(np.uint8)
    genes[0, :4], genes[0, 4:] = 1, 0
    return genes


@pytest.fixture(scope="module")
def gated():
    """A gated policy whose elite is the first member, with a head that tells the gates apart."""
    model = G2PPO(
        "MlpPolicy",
        make_vec("CartPole-v1", 2),
        population_size=2,
        seed=0,
        policy_kwargs={"net_arch": [8]},
        device="cpu",
        n_steps=8,
        batch_size=16,
    )
    policy = model.policy
    torch.manual_seed(0)
    torch.nn.init.normal_(policy.action_net.weight)
    policy.mlp_extractor.elite.copy_(torch.from_numpy(population()[0]))
    return policy


def of_member(policy, genes):
    """Returns a member's distribution by its gates in the elite's place."""
    elite = policy.mlp_extractor.elite
    before = elite.clone()
    elite.copy_(torch.from_numpy(genes))
    rows = policy.get_distribution(STATES).distribution.logits.detach().clone()
    elite.copy_(before)
    return rows


def teacher_of(policy, **options):
    distribution = distribution_of(policy.action_space)
    return make_teacher(policy, distribution, {**OPTIONS, **options}, population())


def test_the_elite_plays_and_teaches_with_its_own_gates(gated):
    teacher = teacher_of(gated)
    assert type(teacher) is ActorTeacher
    teacher.begin(6)
    acting, target = teacher.label(STATES, ALL)
    torch.testing.assert_close(acting, of_member(gated, population()[0]))
    assert torch.equal(acting, target)


def test_a_temperature_changes_what_is_learnt_and_not_how_it_acts(gated):
    acting, target = teacher_of(gated, temperature=0.5).label(STATES, ALL)
    torch.testing.assert_close(acting, of_member(gated, population()[0]))
    torch.testing.assert_close(target, (2 * acting).log_softmax(1))


def test_the_features_of_all_members_differ_by_their_gates(gated):
    features = teacher_of(gated).features(STATES)
    assert features.shape == (6, 3, 8)
    torch.testing.assert_close(features[:, 0], actor_latent(gated, STATES))
    closed = torch.from_numpy(population() == 0)
    assert (features[:, closed] == 0).all()
    assert (features[:, ~closed] != 0).all()


def test_the_mean_is_that_of_the_members_probabilities(gated):
    teacher = teacher_of(gated, teachers="mean")
    assert type(teacher) is PopulationTeacher
    teacher.begin(6)
    acting, target = teacher.label(STATES, ALL)
    each = torch.stack([of_member(gated, genes) for genes in population()])
    torch.testing.assert_close(target.exp(), each.exp().mean(0))
    for env in range(6):  # the members play in turn
        torch.testing.assert_close(acting[env], each[env % 3, env])


def test_each_member_teaches_its_own_episodes(gated):
    teacher = teacher_of(gated, teachers="all")
    each = torch.stack([of_member(gated, genes) for genes in population()])
    teacher.begin(6)
    expected = np.array([0, 1, 2, 0, 1, 2])
    for starts in (ALL, NONE, np.array([False, True, False, False, True, True]), NONE):
        if starts.any() and not starts.all():
            expected[[1, 4, 5]] = [0, 1, 2]  # the next in turn, as episodes begin
        acting, target = teacher.label(STATES, starts)
        torch.testing.assert_close(acting, each[expected, torch.arange(6)])
        assert torch.equal(acting, target)


def option_policy(agent, env="CartPole-v1", **kwargs):
    model = agent("MlpPolicy", make_vec(env, 2), seed=0, device="cpu", **kwargs)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.policy.action_net.weight)
    torch.nn.init.normal_(model.policy.action_net.bias)
    return model.policy


def option_teacher(policy, target):
    distribution = distribution_of(policy.action_space)
    return make_teacher(policy, distribution, {**OPTIONS, "option_target": target}, None)


@pytest.mark.parametrize("agent", [PPOC, A2OC, OptionCritic])
@torch.no_grad()
def test_the_marginal_weighs_options_by_their_choice(agent):
    policy = option_policy(agent)
    teacher = option_teacher(policy, "marginal")
    teacher.begin(6)
    _, target = teacher.label(STATES, ALL)
    outputs = policy.option_outputs(STATES)
    weights = outputs.option_log_probs.exp().unsqueeze(-1)
    torch.testing.assert_close(target.exp(), (weights * outputs.parameters.softmax(-1)).sum(1))
    torch.testing.assert_close(target.exp().sum(1), torch.ones(6))


@torch.no_grad()
def test_the_active_option_teaches_until_it_ends():
    policy = option_policy(PPOC)
    policy.termination_net.bias.fill_(-100.0)  # options end with episodes alone
    teacher = option_teacher(policy, "active")
    logits = policy.option_outputs(STATES).parameters.log_softmax(-1)
    torch.manual_seed(1)
    teacher.begin(6)
    options = []
    for _ in range(4):
        acting, target = teacher.label(STATES, NONE)
        assert torch.equal(acting, target)
        (running,) = teacher._state
        torch.testing.assert_close(acting, logits[torch.arange(6), torch.from_numpy(running)])
        options.append(running.tolist())
    assert options[0] == options[1] == options[2] == options[3]
    assert len(set(options[0])) > 1
    seen = set()
    for _ in range(20):  # a new episode chooses anew
        teacher.label(STATES, ALL)
        seen.add(int(teacher._state[0][0]))
    assert len(seen) > 1


@torch.no_grad()
def test_gaussian_options_keep_their_own_deviations():
    policy = option_policy(PPOC, "Pendulum-v1")
    policy.log_std.copy_(torch.tensor([[-1.0], [0.0], [0.5], [1.0]]))
    states = torch.randn(5, 3)
    teacher = option_teacher(policy, "active")
    teacher.begin(5)
    _, target = teacher.label(states, np.ones(5, bool))
    (running,) = teacher._state
    torch.testing.assert_close(target[:, 1], policy.log_std[running, 0])


def test_tables_teach_but_have_no_features():
    model = OptionCritic("TabularPolicy", make_vec("FourRooms", 2), device="cpu")
    teacher = option_teacher(model.policy, "active")
    assert isinstance(teacher, OptionTeacher)
    states = torch.tensor([0, 5, 9])
    _, target = teacher.label(states, np.ones(3, bool))
    assert target.dtype == torch.float32
    torch.testing.assert_close(target, torch.full((3, 4), 0.25).log())
    with pytest.raises(UserError, match=r"has no features; type distiller\.feed_weight=0"):
        teacher.features(states)
