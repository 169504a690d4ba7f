"""Hellinger distances against definitions and quadrature; bounds, gradients, the regularizer."""

import itertools
import math

import numpy as np
import pytest
import torch
from stable_baselines3.common import distributions as sb3
from torch import distributions as td

from rlgen.agents.on_policy import PolicyOutputs
from rlgen.agents.option_critic.hellinger import (
    HellingerRegularizer,
    hellinger,
    hellinger_bernoulli,
    hellinger_categorical,
    hellinger_gaussian,
    mean_hellinger,
    pairwise_hellinger,
)
from rlgen.core.errors import UserError

CATEGORICAL = [
    ([0.5, 0.5], [1.0, 0.0], 0.5411961),
    ([0.7, 0.2, 0.1], [0.1, 0.2, 0.7], 0.5204323),
    ([1.0, 0.0], [0.0, 1.0], 1.0),
    ([0.3, 0.7], [0.3, 0.7], 0.0),
]
GAUSSIAN = [  # mean, deviation, mean, deviation
    (0.0, 1.0, 1.0, 1.0, 0.3427872),
    (0.0, 1.0, 0.0, 2.0, 0.3249197),
    (-1.2, 0.3, 0.7, 2.1, 0.7530000),
]


def double(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("p", "q", "expected"), CATEGORICAL)
def test_categorical(p, q, expected):
    log_p, log_q = double(p).log(), double(q).log()
    assert hellinger_categorical(log_p, log_q).item() == pytest.approx(expected, abs=1e-6)
    assert hellinger_categorical(log_q, log_p).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("m", "s", "n", "t", "expected"), GAUSSIAN)
def test_gaussian_against_quadrature(m, s, n, t, expected):
    arguments = [double([value]) for value in (m, math.log(s), n, math.log(t))]
    actual = hellinger_gaussian(*arguments).item()
    assert actual == pytest.approx(expected, abs=1e-6)
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    logs = td.Normal(double(m), double(s)).log_prob(x) + td.Normal(double(n), double(t)).log_prob(x)
    affinity = torch.trapezoid(torch.exp(0.5 * logs), x)
    assert actual == pytest.approx(math.sqrt(1 - affinity.item()), abs=1e-6)


def test_gaussian_against_monte_carlo_in_three_dimensions():
    torch.manual_seed(0)
    m, n = double([0.1, -0.4, 0.3]), double([0.5, 0.2, -0.1])
    log_s, log_t = double([0.0, 0.2, -0.3]), double([0.3, -0.1, 0.0])
    p, q = td.Normal(m, log_s.exp()), td.Normal(n, log_t.exp())
    x = p.sample((400_000,))
    affinity = torch.exp(0.5 * (q.log_prob(x) - p.log_prob(x)).sum(1)).mean()
    actual = hellinger_gaussian(m, log_s, n, log_t).item()
    assert actual == pytest.approx(math.sqrt(1 - affinity.item()), abs=2e-3)


def test_bits_are_categorical_and_multiply():
    p, q = double([0.2, 0.9]), double([0.6, 0.5])
    joint = [
        [a * b for a, b in itertools.product((x, 1 - x), (y, 1 - y))]
        for x, y in (p.tolist(), q.tolist())
    ]
    expected = hellinger_categorical(*(double(probs).log() for probs in joint))
    actual = hellinger_bernoulli(torch.logit(p), torch.logit(q))
    assert actual.item() == pytest.approx(expected.item(), abs=1e-9)


def random_logits(*shape: int) -> torch.Tensor:
    return 2 * torch.randn(*shape, dtype=torch.float64)


def test_bounds_symmetry_triangle_and_relations():
    torch.manual_seed(0)
    logs = random_logits(500, 3, 6).log_softmax(-1)
    p, q, r = logs.unbind(1)
    pq, qr, pr = (hellinger_categorical(*pair) for pair in ((p, q), (q, r), (p, r)))
    assert torch.equal(pq, hellinger_categorical(q, p))
    assert ((pq >= 0) & (pq <= 1)).all()
    assert (pr <= pq + qr + 1e-12).all()
    total_variation = 0.5 * (p.exp() - q.exp()).abs().sum(1)
    assert (pq.square() <= total_variation + 1e-12).all()
    assert (total_variation <= pq * torch.sqrt(2 - pq.square()) + 1e-12).all()
    kl = (p.exp() * (p - q)).sum(1)
    assert (kl >= -2 * torch.log1p(-pq.square()) - 1e-12).all()
    order = torch.randperm(6)
    torch.testing.assert_close(hellinger_categorical(p[:, order], q[:, order]), pq)


def test_gaussians_do_not_see_shifts_and_scales():
    torch.manual_seed(0)
    m, n, log_s, log_t = torch.randn(4, 50, 3, dtype=torch.float64)
    plain = hellinger_gaussian(m, log_s, n, log_t)
    shift, log_scale = double([1.0, -2.0, 3.0]), double([0.5, -1.0, 2.0])
    moved = [(x + shift) * log_scale.exp() for x in (m, n)]
    scaled = hellinger_gaussian(moved[0], log_s + log_scale, moved[1], log_t + log_scale)
    torch.testing.assert_close(scaled, plain)


@pytest.mark.parametrize("with_std", [False, True])
def test_all_pairs_equal_the_loop(with_std: bool):
    torch.manual_seed(0)
    parameters = random_logits(7, 4, 3)
    log_std = torch.randn(4, 3, dtype=torch.float64) if with_std else None
    matrix = pairwise_hellinger(parameters, log_std)
    logs = parameters.log_softmax(-1)
    for i, j in itertools.product(range(4), repeat=2):
        if log_std is None:
            expected = hellinger_categorical(logs[:, i], logs[:, j])
        else:
            of_i, of_j = (parameters[:, i], log_std[i]), (parameters[:, j], log_std[j])
            expected = hellinger_gaussian(*of_i, *of_j)
        torch.testing.assert_close(matrix[:, i, j], expected)
    upper = matrix[:, *torch.triu_indices(4, 4, 1)]
    torch.testing.assert_close(mean_hellinger(parameters, log_std, eps=0.0), upper.mean(1))
    squared = mean_hellinger(parameters, log_std, power=2, eps=0.0)
    torch.testing.assert_close(squared, upper.square().mean(1))
    shuffled = torch.randperm(4)
    relabelled = mean_hellinger(
        parameters[:, shuffled], None if log_std is None else log_std[shuffled], eps=0.0
    )
    torch.testing.assert_close(relabelled, upper.mean(1))


def pairs_of_distributions() -> list[tuple[object, object, float]]:
    logits = double([[0.7, 0.2, 0.1]]).log(), double([[0.1, 0.2, 0.7]]).log()
    bits = double([[0.5]]), double([[1 - 1e-15]])
    means, stds = (double([[0.0]]), double([[1.0]])), (double([[1.0]]), double([[1.0]]))
    gaussians = [
        sb3.DiagGaussianDistribution(1).proba_distribution(mean, torch.zeros(1).double())
        for mean in means
    ]
    squashed = [
        sb3.SquashedDiagGaussianDistribution(1).proba_distribution(mean, torch.zeros(1).double())
        for mean in means
    ]
    return [
        (td.Categorical(logits=logits[0]), td.Categorical(logits=logits[1]), 0.5204323),
        (td.OneHotCategorical(logits=logits[0]), td.OneHotCategorical(logits=logits[1]), 0.5204323),
        (*(sb3.CategoricalDistribution(3).proba_distribution(x) for x in logits), 0.5204323),
        (*(sb3.MultiCategoricalDistribution([3]).proba_distribution(x) for x in logits), 0.5204323),
        (td.Bernoulli(bits[0]), td.Bernoulli(bits[1]), 0.5411961),
        (*(sb3.BernoulliDistribution(1).proba_distribution(torch.logit(x)) for x in bits), 0.5412),
        (td.Normal(means[0], stds[1]), td.Normal(means[1], stds[1]), 0.3427872),
        (
            td.Independent(td.Normal(means[0], stds[1]), 1),
            td.Independent(td.Normal(means[1], stds[1]), 1),
            0.3427872,
        ),
        (*gaussians, 0.3427872),
        (*squashed, 0.3427872),
    ]


@pytest.mark.parametrize("number", range(10))
def test_distributions_of_sb3_and_torch(number: int):
    p, q, expected = pairs_of_distributions()[number]
    assert hellinger(p, q).item() == pytest.approx(expected, abs=1e-5)
    assert hellinger(p, p).item() == 0.0


def test_products_of_parts_multiply():
    p = sb3.DiagGaussianDistribution(2).proba_distribution(torch.zeros(3, 2), torch.zeros(2))
    q = sb3.DiagGaussianDistribution(2).proba_distribution(torch.ones(3, 2), torch.zeros(2))
    one = 1 - 0.3427872**2
    assert hellinger(p, q).shape == (3,)
    torch.testing.assert_close(hellinger(p, q), torch.full((3,), math.sqrt(1 - one**2)))


def test_two_kinds_have_no_distance():
    with pytest.raises(UserError, match="no Hellinger distance between Normal and Categorical"):
        hellinger(td.Normal(0.0, 1.0), td.Categorical(torch.ones(2)))


@pytest.mark.parametrize("eps", [0.0, 1e-8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_everywhere(dtype: torch.dtype, eps: float):
    cases: list[tuple[torch.Tensor, torch.Tensor | None]] = [
        (torch.zeros(1, 2, 3), None),
        (torch.tensor([[[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]]]), None),
        (torch.tensor([[[0.0, 1.0, 2.0], [0.0, 1.0, 2.0 + 1e-7]]]), None),
        (torch.zeros(1, 2, 3), torch.zeros(2, 3)),
        (torch.tensor([[[1e3, 0.0], [-1e3, 0.0]]]), torch.zeros(2, 2)),
        (torch.tensor([[[1e3, 0.0], [-1e3, 0.0]]]), torch.full((2, 2), -20.0)),
        (torch.zeros(1, 2, 2), torch.tensor([[30.0, 0.0], [-30.0, 0.0]])),
    ]
    for parameters, log_std in cases:
        leaves = [parameters.to(dtype).requires_grad_()]
        if log_std is not None:
            leaves.append(log_std.to(dtype).requires_grad_())
        value = mean_hellinger(*leaves, eps=eps).sum()
        assert 0 <= value.item() <= 1 + 1e-6
        for grad in torch.autograd.grad(value, leaves):
            assert grad.isfinite().all()


def test_gradients_are_slopes():
    torch.manual_seed(0)
    parameters = random_logits(2, 3, 4).requires_grad_()
    log_std = torch.randn(3, 4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mean_hellinger(x, eps=0.0), parameters)
    assert torch.autograd.gradcheck(lambda x, s: mean_hellinger(x, s), (parameters, log_std))


@pytest.mark.parametrize("power", [1, 2])
def test_descent_on_its_negative_increases_the_distance(power: int):
    torch.manual_seed(0)
    parameters = (0.01 * torch.randn(16, 4, 5)).requires_grad_()
    optimizer = torch.optim.SGD([parameters], lr=1e-3)
    before = mean_hellinger(parameters, power=power).mean()
    (-before).backward()
    optimizer.step()
    assert mean_hellinger(parameters, power=power).mean() > before
    optimizer = torch.optim.Adam([parameters], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (-mean_hellinger(parameters, power=power).mean()).backward()
        optimizer.step()
    assert mean_hellinger(parameters, eps=0.0).mean() > 0.9


def test_one_option_has_no_distance():
    parameters = torch.randn(5, 1, 3, requires_grad=True)
    assert torch.equal(mean_hellinger(parameters), torch.zeros(5))
    assert pairwise_hellinger(parameters).shape == (5, 1, 1)


def test_disjoint_options_are_one_apart():
    parameters = 1e3 * torch.eye(4).expand(2, 4, 4)
    np.testing.assert_allclose(mean_hellinger(parameters, eps=0.0).numpy(), 1.0, atol=1e-6)


@pytest.mark.parametrize("options", [{"coef": math.inf}, {"power": 3}])
def test_wrong_options_of_the_regularizer(options):
    with pytest.raises(UserError):
        HellingerRegularizer(**options)


def outputs_of(parameters: torch.Tensor, policy: object, latent: torch.Tensor) -> PolicyOutputs:
    empty = torch.zeros(0)
    return PolicyOutputs(policy, None, parameters, empty, empty, empty, latent)  # type: ignore[arg-type]


class TwoHeads(torch.nn.Module):
    """What the regularizer asks of a policy."""

    n_options = 2

    def __init__(self) -> None:
        super().__init__()
        self.trunk = torch.nn.Linear(3, 4)
        self.action_net = torch.nn.Linear(4, 2 * 5)
        self.log_std = torch.nn.Parameter(torch.tensor([[0.0], [0.5]]).expand(2, 5).clone())


@pytest.mark.parametrize("detach_trunk", [False, True])
@pytest.mark.parametrize("std_grad", [False, True])
def test_the_regularizer_trains_what_it_is_told(detach_trunk: bool, std_grad: bool):
    torch.manual_seed(0)
    policy = TwoHeads()
    latent = policy.trunk(torch.randn(7, 3))
    parameters = policy.action_net(latent).unflatten(1, (2, 5))
    regularizer = HellingerRegularizer(0.3, detach_trunk=detach_trunk, std_grad=std_grad)
    regularizer.check(policy)
    terms = regularizer(outputs_of(parameters, policy, latent))
    expected = -0.3 * mean_hellinger(parameters, policy.log_std).mean()
    torch.testing.assert_close(terms["hellinger_loss"], expected)
    terms["hellinger_loss"].backward()
    assert (policy.trunk.weight.grad is None) == detach_trunk
    assert (policy.log_std.grad is None) != std_grad
    assert policy.action_net.weight.grad is not None
