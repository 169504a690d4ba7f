"""Losses with written-down gradients against autograd, in NumPy and in torch."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rlgen.agents.option_critic import terms
from rlgen.agents.option_critic.hellinger import mean_hellinger

BATCH, WIDTH, K, ACTIONS = 6, 5, 3, 4


@pytest.fixture(params=["numpy", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """What arrays are: NumPy's on the CPU, torch's elsewhere, which is acted here."""
    if request.param == "torch":
        monkeypatch.setattr(terms, "array_of", lambda tensor: tensor.detach())
    return terms.array_of if request.param == "numpy" else lambda tensor: tensor.detach()


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def same(ours: torch.Tensor, theirs: torch.Tensor, leaves: list[torch.Tensor]) -> None:
    """Compares values and gradients, also under a factor."""
    torch.testing.assert_close(ours, theirs)
    for factor in (1.0, -2.5):
        a = torch.autograd.grad(factor * ours, leaves, retain_graph=True)
        b = torch.autograd.grad(factor * theirs, leaves, retain_graph=True)
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y)


@pytest.mark.parametrize("detached", [False, True])
def test_terminations(library, detached: bool):
    head = torch.nn.Linear(WIDTH, K).double()
    latent = draw(BATCH, WIDTH).requires_grad_(not detached)
    options, cost = torch.tensor([0, 1, 2, 0, 1, 2]), draw(BATCH)
    chosen = library(F.one_hot(options, K).double().T)
    ours = terms.termination_loss(latent, head, chosen, library(cost))
    beta = torch.sigmoid(head(latent)).gather(1, options[:, None])[:, 0]
    leaves = [head.weight, head.bias, *([] if detached else [latent])]
    same(ours, (cost * beta).mean(), leaves)


def test_the_policy_over_options(library):
    head = torch.nn.Linear(WIDTH, K).double()
    latent, advantage = draw(BATCH, WIDTH), draw(BATCH)
    chose = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]).double()
    options = torch.tensor([0, 1, 2, 0, 1, 2])
    log_probs = head(latent).log_softmax(1)
    chosen = library(F.one_hot(options, K).double().T)
    fixed = (library(log_probs.T), chosen, library(advantage), library(chose))
    ours = terms.option_policy_loss(latent, head, *fixed, 0.3)
    entropy = -(log_probs.exp() * log_probs).sum(1)
    taken = log_probs.gather(1, options[:, None])[:, 0]
    theirs = -(chose * (taken * advantage + 0.3 * entropy)).mean()
    same(ours, theirs, [head.weight, head.bias])


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("equal", [False, True])
def test_the_distance(equal: bool):
    logits = torch.zeros(BATCH, K, ACTIONS).double() if equal else draw(BATCH, K, ACTIONS)
    logits.requires_grad_()
    ours = terms.hellinger_loss(logits, 0.7, 1e-8)
    same(ours, -0.7 * mean_hellinger(logits, eps=1e-8).mean(), [logits])


@pytest.mark.parametrize("eps", [0.0, 0.1, 1.0])
def test_the_greedy_choice(library, eps: float):
    values = draw(K, BATCH)
    probs = np.exp(np.asarray(terms.log_greedy(library(values), eps)))
    np.testing.assert_allclose(probs.sum(0), 1)
    columns = np.arange(BATCH)
    np.testing.assert_allclose(probs[values.argmax(0), columns], 1 - eps + eps / K)


def test_log_softmax(library):
    logits = 50 * draw(K, BATCH)
    ours = torch.as_tensor(terms.log_softmax(library(logits)))
    torch.testing.assert_close(ours, logits.log_softmax(0))


def test_what_the_acting_options_did():
    logits, values = draw(BATCH, K, ACTIONS), draw(BATCH, K)
    leaves = [logits.requires_grad_(), values.requires_grad_()]
    options, actions = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([3, 0, 1, 2, 3, 0])
    samples = torch.arange(BATCH)
    ours = terms.acted_terms(logits, values, samples * K + options, actions)
    log_probs = logits[samples, options].log_softmax(1)
    entropy = -(log_probs.exp() * log_probs).sum(1)
    theirs = (log_probs[samples, actions], entropy, values[samples, options])
    weights = draw(3, BATCH)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    weigh = [
        sum((w * x).sum() for w, x in zip(weights, terms_, strict=True))
        for terms_ in (ours, theirs)
    ]
    for a, b in zip(*(torch.autograd.grad(total, leaves) for total in weigh), strict=True):
        torch.testing.assert_close(a, b)
