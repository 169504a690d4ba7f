"""Steering a trained agent by its latent means, without training it again.

Paper: Yang, Lee, Chang, Kwak, "Towards Governing Agent's Efficacy: Action-Conditional beta-VAE for
Deep Transparent Reinforcement Learning" (ACML 2019). Governing [S]: in each step chosen
coordinates of mu are overwritten, the policy head reads h = [mu' ; sigma] and acts; sigma stays as
the encoder gave it. Here a :class:`Governor` does this to any SB3 algorithm whose policy acts
through a :class:`rlgen.agents.disentangled.DisentangledExtractor`, by a forward hook on that
extractor: no weight and no method of the agent changes.

The alarm of states outside those visited in training is ours: the paper's abstract speaks of
governing after the fact, and describes no density.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import nn

from rlgen.agents.disentangled.actions import ActionCoding
from rlgen.agents.disentangled.extractor import DisentangledExtractor, acting_extractor
from rlgen.agents.disentangled.rules import Rule, apply_rules, parse_rules
from rlgen.agents.disentangled.visited import VisitedLatents
from rlgen.core.errors import UserError

FloatArray = npt.NDArray[np.float32]


def find_extractor(model: BaseAlgorithm) -> DisentangledExtractor:
    """Returns the disentangled extractor by which an algorithm acts.

    Raises:
        UserError: If it acts by another one.
    """
    try:
        return acting_extractor(model.policy)
    except UserError:
        raise UserError(
            f"{type(model).__name__} acts by no disentangled latents, so nothing can be governed; "
            "train agent=disentangled, or give its policy "
            "features_extractor_class=DisentangledExtractor"
        ) from None


class Governor:
    """An agent that acts under rules; used in the agent's place wherever ``predict`` is called.

    Each call of :meth:`predict` hooks the extractor and unhooks it again, whatever happens. Inside
    ``with governor:`` the hook stays, and other calls that run the policy (``model.predict``,
    ``policy.get_distribution``) are edited too, with the steps that :meth:`predict` counted last.
    Everything else that is asked of a governor is answered by the agent.

    Args:
        model: The agent.
        rules: Rules, or their text (:func:`rlgen.agents.disentangled.parse_rules`). With none, the
            actions are the agent's own, bit for bit.
        visited: Density of the latents that were visited, for alarms.

    Attributes:
        latent_dim: n; coordinates count from 0.
        action_dim: m; to coordinates 0 to m-1 the action is added.
        steps: Steps since the start of each environment's episode, int64 (n_envs,).
        latents: Means as encoded in the last :meth:`predict`, (n_envs, n).
        edited: The same under the rules, (n_envs, n).
        alarms: Where the state lay outside the visited ones, bool (n_envs,).
        alarm_count: How many alarms there were.

    Raises:
        UserError: If the agent has no disentangled extractor, or a coordinate does not exist.
    """

    def __init__(
        self,
        model: BaseAlgorithm,
        rules: str | Sequence[Rule] = (),
        visited: VisitedLatents | None = None,
    ) -> None:
        self.model = model
        self.extractor = find_extractor(model)
        self.vae = self.extractor.vae
        self.latent_dim = int(self.vae.latent_dim)
        self.action_dim = int(self.vae.action_dim)
        self.rules = rules
        if visited is not None and visited.latent_dim != self.latent_dim:
            raise UserError(
                f"the visited latents have {visited.latent_dim} coordinates, this agent has "
                f"{self.latent_dim}; fit them again from its own episodes"
            )
        self.visited = visited
        self.alarm_count = 0
        self._handle: torch.utils.hooks.RemovableHandle | None = None
        self._predicting = False
        self.reset()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules; they may be replaced between two steps."""
        return self._rules

    @rules.setter
    def rules(self, rules: str | Sequence[Rule]) -> None:
        parsed = parse_rules(rules) if isinstance(rules, str) else tuple(rules)
        n, m = self.latent_dim, self.action_dim
        for rule in parsed:
            if rule.coordinate >= n:
                raise UserError(
                    f"{rule}: coordinate {rule.coordinate} does not exist; this agent has {n}: "
                    f"0 to {m - 1} are mapped to the action, {m} to {n - 1} are not"
                )
        self._rules = parsed

    def reset(self) -> None:
        """Starts new episodes everywhere, for callers that pass no ``episode_start``."""
        self.steps: npt.NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.latents: FloatArray = np.zeros((0, self.latent_dim), dtype=np.float32)
        self.edited: FloatArray = self.latents
        self.alarms: npt.NDArray[np.bool_] = np.zeros(0, dtype=bool)

    def predict(
        self,
        observation: Any,
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...] | None]:
        """Chooses actions under the rules; arguments and result are those of SB3's ``predict``.

        Args:
            observation: Of one environment, or of several on axis 0.
            state: Of recurrent policies.
            episode_start: Where an episode starts with this observation, (n_envs,); there the
                steps are counted anew. None: nowhere, unless :meth:`reset` was called.
            deterministic: Take the most probable action, instead of sampling.
        """
        self._count(observation, episode_start)
        held, self._predicting = self._handle is not None, True
        if not held:
            self._hook()
        try:
            return self.model.predict(observation, state, episode_start, deterministic)
        finally:
            self._predicting = False
            if not held:
                self._unhook()

    def __enter__(self) -> "Governor":
        self._hook()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unhook()

    def encode(self, observation: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns mean and deviation (batch, n) of observations, without rules."""
        policy = self.model.policy
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(observation)
            space, scaled = policy.observation_space, policy.normalize_images
            features = self._unedited(preprocess_obs(tensor, space, normalize_images=scaled))
        return features[:, : self.latent_dim], features[:, self.latent_dim :]

    def decode(self, actions: npt.ArrayLike) -> FloatArray:
        """Returns the next states that the last step's edited means and its actions decode to.

        The paper decodes before the reparameterisation [S]: z = mu' + [a ; 0], without noise.

        Args:
            actions: What :meth:`predict` returned, for all environments: (n_envs, ...).

        Returns:
            (n_envs, *target_shape), in the units that the agent sees.
        """
        vectors = ActionCoding(self.model.action_space).encode(actions, self.model.device)
        with torch.no_grad():
            z = torch.from_numpy(self.edited).to(vectors.device) + self.vae.map_action(vectors)
            return self.vae.predict(z).cpu().numpy()

    def novelty(self, observation: Any) -> npt.NDArray[np.float64]:
        """Returns how new states are, (batch,): the negative log density of their means, in nats.

        Raises:
            UserError: If the governor knows no visited latents.
        """
        if self.visited is None:
            raise UserError("this governor knows no visited latents; give it visited=...")
        return self.visited.novelty(self.encode(observation)[0].cpu().numpy())

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # not there yet
            raise AttributeError(name)
        return getattr(self.model, name)

    def _unedited(self, observations: Any) -> torch.Tensor:
        held = self._handle is not None
        self._unhook()
        try:
            return self.extractor(observations)
        finally:
            if held:
                self._hook()

    def _hook(self) -> None:
        if self._handle is None:
            self._handle = self.extractor.register_forward_hook(self._edit)

    def _unhook(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _count(self, observation: Any, episode_start: npt.NDArray[np.bool_] | None) -> None:
        """Counts a step of each environment, before its action is chosen."""
        rows = 1
        if self.model.policy.is_vectorized_observation(observation):
            first = next(iter(observation.values())) if isinstance(observation, dict) else None
            rows = len(observation if first is None else first)
        if len(self.steps) != rows:
            self.reset()
            self.steps = np.zeros(rows, dtype=np.int64)
        else:
            self.steps = self.steps + 1
        if episode_start is not None:
            self.steps = np.where(episode_start, 0, self.steps)

    def _edit(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor | None:
        n, rows = self.latent_dim, len(output)
        mu, edited = output[:, :n], output[:, :n]
        if self.rules:
            # A batch that is not the environments' own has no place in their episodes.
            counted = self.steps if rows == len(self.steps) else np.zeros(rows, dtype=np.int64)
            edited = apply_rules(self.rules, mu, torch.from_numpy(counted).to(mu.device))
        if self._predicting:
            self._record(mu, edited)
        return torch.cat([edited, output[:, n:]], 1) if self.rules else None

    def _record(self, mu: torch.Tensor, edited: torch.Tensor) -> None:
        self.latents = mu.detach().cpu().numpy()
        self.edited = edited.detach().cpu().numpy()
        if self.visited is not None:
            self.alarms = self.visited.alarm(self.latents)
            self.alarm_count += int(self.alarms.sum())
