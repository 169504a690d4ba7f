"""How policies with options act: they keep each environment's option as SB3's recurrent state."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from rlgen.core.errors import UserError

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
State = Sequence[npt.NDArray[Any]] | None


@dataclass(frozen=True)
class OptionOutputs:
    """What a policy says of states under every option; axis 0 is the batch.

    Attributes:
        parameters: Logits or means of each option's actions, (batch, K, A).
        values: Q(s, w), (batch, K).
        beta: Termination probabilities, (batch, K), where they were asked for.
        option_log_probs: log pi_Omega(w|s), (batch, K); held fixed in training.
        latent_pi: What action and option heads read, (batch, width).
        latent_vf: What value and termination heads read, (batch, width).
    """

    parameters: torch.Tensor
    values: torch.Tensor
    beta: torch.Tensor | None
    option_log_probs: torch.Tensor
    latent_pi: torch.Tensor
    latent_vf: torch.Tensor


class ActsWithOptions(BasePolicy):
    """Mix-in before one of SB3's policies; a subclass says what it knows of states and acts on it.

    ``predict`` goes on with an option until it terminates, and then chooses another. Called without
    a state, it chooses anew.

    Attributes:
        n_options: K.
        allowed: Options that may be chosen, bool (K,), or None for all; for tests of what an
            option is good for.
    """

    n_options: int
    allowed: BoolArray | None = None

    @abstractmethod
    def option_outputs(self, obs: PyTorchObs) -> OptionOutputs:
        """Returns what the policy says of observations (batch, ...) under every option."""

    @abstractmethod
    def act(
        self, outputs: OptionOutputs, state: State, episode_start: Any, deterministic: bool
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...], BoolArray]:
        """Returns actions as the policy draws them, the next state, and which options ended."""

    @abstractmethod
    def within_bounds(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns actions as environments take them."""

    def enter(
        self, outputs: OptionOutputs, state: State, episode_start: Any, deterministic: bool
    ) -> tuple[IntArray, BoolArray]:
        """Goes on with options or chooses new ones; see :func:`enter_options`."""
        return enter_options(outputs, state, episode_start, deterministic, self.allowed)

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> Any:
        """Refused: what an option policy does depends on the options that are running.

        Raises:
            UserError: Always.
        """
        raise UserError(
            "a policy with options acts by predict(observation, state, episode_start), which keeps "
            "the running options"
        )

    def predict(
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...] | None]:
        """Returns actions and the options they were taken under; see SB3's protocol.

        Args:
            observation: One observation or a batch of them.
            state: What the last call returned, ``(options,)``, or None at the very beginning.
            episode_start: Where an option must be chosen anew, bool (batch,).
            deterministic: Take the most probable action, option and termination (beta > 1/2).
        """
        self.set_training_mode(False)
        tensor, vectorized = self.obs_to_tensor(observation)
        with torch.no_grad():
            outputs = self.option_outputs(tensor)
        actions, state, _ = self.act(outputs, state, episode_start, deterministic)
        actions = self.within_bounds(actions)
        return (actions if vectorized else actions.squeeze(axis=0)), state


def enter_options(
    outputs: OptionOutputs,
    state: State,
    episode_start: npt.NDArray[Any] | None,
    deterministic: bool,
    allowed: BoolArray | None = None,
) -> tuple[IntArray, BoolArray]:
    """Goes on with options or chooses new ones, by torch's random numbers.

    Args:
        outputs: What a policy says of the states.
        state: The running options, ``(options,)``, or None: all are chosen.
        episode_start: Where an option must be chosen anew, bool (batch,).
        deterministic: Take the most probable option and termination (beta > 1/2).
        allowed: Options that may be chosen, bool (K,), or None for all.

    Returns:
        Options (batch,), and whether the running one terminated on entering, (batch,).

    Raises:
        UserError: If the state is of another number of observations.
    """
    assert outputs.beta is not None
    beta, log_probs = outputs.beta.cpu(), outputs.option_log_probs.cpu()
    if allowed is not None:
        log_probs = log_probs.masked_fill(~torch.from_numpy(allowed), -torch.inf)
    chosen = log_probs.argmax(1)
    if not deterministic:
        chosen = torch.multinomial(log_probs.exp() + 1e-30 * log_probs.isfinite(), 1)[:, 0]
    fresh = chosen.numpy()
    if state is None:
        return fresh, np.zeros(len(fresh), dtype=bool)
    running = np.asarray(state[0], dtype=np.int64)
    if running.shape != fresh.shape:
        raise UserError(
            f"state of {running.shape} for {len(fresh)} observations; pass on the state that "
            "the last predict returned, or None"
        )
    ends = beta[torch.arange(len(running)), torch.from_numpy(running)]
    ended = ends > 0.5 if deterministic else torch.rand(len(running)) < ends
    starts = np.zeros(len(fresh), bool) if episode_start is None else np.asarray(episode_start)
    terminated = ended.numpy() & ~starts.astype(bool)
    return np.where(terminated | starts.astype(bool), fresh, running), terminated
