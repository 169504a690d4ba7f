"""A uniformly random policy beside which only the model learns.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350): its dSprites results were made "with a
random policy" and no reward (seen); minibatches and passes over a rollout are reconstructed.
"""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from rlgen.agents.disentangled.algorithm import DisentangledLearner
from rlgen.agents.disentangled.policy import DisentangledPolicy
from rlgen.agents.on_policy import TermLog
from rlgen.agents.registry import AGENTS
from rlgen.core.errors import UserError


class RandomDisentangledPolicy(DisentangledPolicy):
    """A latent that nobody acts on: every action is equally probable.

    Its action and value heads are one linear layer each, are never trained and never asked.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "net_arch": [], "critic": "detached"})

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> torch.Tensor:
        """Draws actions from torch's generator; ``deterministic`` has no meaning here."""
        assert isinstance(observation, torch.Tensor)
        chance = torch.rand(len(observation), _width(self.action_space))
        return torch.from_numpy(_uniform(self.action_space, chance.numpy())).to(self.device)


@AGENTS.register("disentangled_random")
class DisentangledRandom(DisentangledLearner):
    """Trains the model on what a random policy sees.

    Args:
        policy: ``MlpPolicy`` or ``CnnPolicy``, the same here.
        env: An environment or vector environment.
        learning_rate: Of Adam.
        n_steps: Steps per environment and rollout.
        batch_size: Samples of a gradient step.
        n_epochs: Passes over a rollout.
        alpha: Weight of the objective, above 0; as it is all there is, it matters to the clipping
            of the encoder's gradient and to Adam's epsilon alone.
        max_grad_norm: The encoder's gradient is clipped to this norm.
        **kwargs: Those of :class:`DisentangledLearner` and of SB3's ``OnPolicyAlgorithm``.

    Raises:
        UserError: If an argument does not fit.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": RandomDisentangledPolicy,
        "CnnPolicy": RandomDisentangledPolicy,
    }

    def __init__(
        self,
        policy: Any,
        env: Any,
        learning_rate: Any = 5e-4,
        n_steps: int = 64,
        batch_size: int = 64,
        n_epochs: int = 1,
        *,
        alpha: float = 1.0,
        max_grad_norm: float = float("inf"),
        _init_setup_model: bool = True,
        **kwargs: Any,
    ) -> None:
        if not alpha > 0:
            raise UserError(f"alpha={alpha} trains nothing; type alpha=1")
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        unused = {"gamma": 0.99, "gae_lambda": 1.0, "ent_coef": 0.0, "vf_coef": 0.0}
        super().__init__(
            policy,
            env,
            learning_rate,
            n_steps,
            alpha=alpha,
            max_grad_norm=max_grad_norm,
            **{**unused, "use_sde": False, "sde_sample_freq": -1, **kwargs},
        )
        if _init_setup_model:
            self._setup_model()

    def _check_policy(self, policy: Any) -> None:
        super()._check_policy(policy)
        if isinstance(policy, type) and not issubclass(policy, RandomDisentangledPolicy):
            raise UserError(f"{type(self).__name__} acts at random; type MlpPolicy or CnnPolicy")

    def _learnt(self) -> list[torch.nn.Parameter]:
        return list(self.policy.vae.parameters())

    def _act(
        self, stored: torch.Tensor
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        size = (len(stored), _width(self.action_space))
        actions = _uniform(self.action_space, self.generators["actions"].random(size))
        nothing = np.zeros(len(stored), dtype=np.float32)
        return actions, nothing, nothing

    def _values_at_end(
        self, stored: torch.Tensor, dones: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        self._next.end(stored)
        return np.zeros(len(stored), dtype=np.float32)

    def _values_where_cut(self, stored: torch.Tensor, envs: list[int]) -> npt.NDArray[np.float32]:
        return np.zeros(len(envs), dtype=np.float32)

    def train(self) -> None:
        """Trains the model on the rollout just collected.

        Raises:
            NonFiniteLossError: If the loss becomes NaN or infinite.
        """
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        terms = TermLog()
        generator = self.generators["minibatches"]
        for _ in range(self.n_epochs):
            for batch in self.rollout_buffer.minibatches(self.batch_size, generator):
                _, _, latents = self.network.evaluate_all(batch.observations)
                loss = self.model_loss(latents, batch.index)
                self._descend(loss)
                terms.add(model_loss=loss)
                self._n_updates += 1
        for name, value in terms.means().items():
            self.logger.record(f"train/{name}", value)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.stop_if_not_finite()


def _width(space: spaces.Space) -> int:
    return int(np.prod(space.shape or (1,)))


def _uniform(space: spaces.Space, chance: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Turns uniform numbers in 0..1, (batch, parts), into actions as a rollout keeps them.

    An unbounded part of a ``Box`` takes -1 and 1 as its bounds.
    """
    if isinstance(space, spaces.Discrete):
        return (chance[:, 0] * int(space.n)).astype(np.int64)
    if isinstance(space, spaces.MultiDiscrete):
        return (chance * space.nvec.reshape(1, -1)).astype(np.int64)
    assert isinstance(space, spaces.Box)
    low = np.where(np.isfinite(space.low), space.low, -1).reshape(1, -1)
    high = np.where(np.isfinite(space.high), space.high, 1).reshape(1, -1)
    return (low + chance * (high - low)).astype(np.float32)
