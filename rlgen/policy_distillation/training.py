"""Policy distillation: a student's gradient steps on states that a teacher has labelled.

Paper: A. A. Rusu et al., "Policy Distillation", ICLR 2016 (arXiv 1511.06295); recalled, not read
for this: KL of the teacher's distribution, at a temperature tau of its own, to the student's,

    L = KL(softmax(z_T / tau) || softmax(z_S)) + beta FEED

Its teachers are Q-networks, whose values need tau = 0.01 to be a policy; ours are policies, so tau
is 1. The second term is ours: FEED over the members of a population, see
:mod:`rlgen.policy_distillation.population_features`. Collections: see
:mod:`rlgen.policy_distillation.collect`.
"""

from typing import Any

import torch
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import sync_envs_normalization

from rlgen.agents.scoring import Score, score
from rlgen.agents.state import restore_policy
from rlgen.core.cli import tell
from rlgen.core.errors import UserError
from rlgen.core.job import Tensors
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.core.seeding import generator_state, restore_generator, spawn_generators
from rlgen.policy_distillation.collect import Collector
from rlgen.policy_distillation.population_features import MemberTransforms, members_loss
from rlgen.policy_distillation.replay import StateReplay, default_capacity
from rlgen.policy_distillation.source import LoadedTeacher
from rlgen.policy_distillation.teacher import Teacher, actor_latent


class PolicyTrainer:
    """A student, its teacher, the states between them, and the optimiser.

    Args:
        config: The resolved configuration.
        loaded: The trained agent.
        teacher: What it says.
        student: A plain SB3 model on the environment that is played.
    """

    def __init__(
        self,
        config: dict[str, Any],
        loaded: LoadedTeacher,
        teacher: Teacher,
        student: OnPolicyAlgorithm,
    ) -> None:
        self.config, self.loaded, self.teacher, self.student = config, loaded, teacher, student
        self.distribution = teacher.distribution
        self.feed_weight: float = config["distiller"]["feed_weight"]
        env = student.get_env()
        assert env is not None
        if student.get_vec_normalize_env() is not None:
            sync_envs_normalization(loaded.model.get_env(), env)  # type: ignore[arg-type]
        self.policy: Any = student.policy
        self.policy.set_training_mode(False)  # nothing in it depends on the mode
        capacity = config["buffer_size"] or default_capacity(student.observation_space)
        self.replay = StateReplay(student.observation_space, self.distribution.width, capacity)
        self.collector = Collector(env, teacher, self.rows, student.device, config["seed"])
        self.generator = spawn_generators(config["seed"], "batches")["batches"]
        self.env_steps = self.collections = 0
        self.transforms = self._make_transforms()
        trained = [*self.actor_parameters(), *self.transforms.parameters()]
        self.optimizer = torch.optim.Adam(trained, lr=config["lr"], fused=True)

    def _make_transforms(self) -> torch.nn.Module:
        if not self.feed_weight:
            return torch.nn.Module()
        sample = torch.as_tensor(self.student.observation_space.sample(), device=self.device)
        with torch.no_grad():
            features = self.teacher.features(sample.unsqueeze(0))
        width = self.policy.action_net.in_features
        return MemberTransforms(self.teacher.members, width, features.shape[-1]).to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.student.device

    def actor_parameters(self) -> list[torch.nn.Parameter]:
        """Returns what of the student acts: all but its value head."""
        return [p for n, p in self.policy.named_parameters() if not n.startswith("value_net.")]

    def _rows_of(self, latent: torch.Tensor) -> torch.Tensor:
        log_std = getattr(self.policy, "log_std", None)
        return self.distribution.rows(self.policy.action_net(latent), log_std)

    def rows(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns what the student says of observations, (batch, P)."""
        return self._rows_of(actor_latent(self.policy, observations))

    def collect(self, number: int) -> None:
        """Makes collection ``number``; the student plays in all but the first."""
        share = self.config["distiller"]["student_states"] if number else 0.0
        states = self.collector.collect(self.config["collect_states"], share, number)
        self.replay.add(*states)
        self.env_steps += len(states[1])
        self.collections = number + 1

    def train_step(self, step: int) -> dict[str, torch.Tensor]:
        """Takes a gradient step; before some, new states are collected.

        Args:
            step: Its number, from 0.

        Returns:
            The loss, its unweighted terms, and how often teacher and student agree.
        """
        config = self.config
        every = config["collect_every"]
        if step == 0 or (every and step % every == 0):
            self.collect(step // every if every else 0)
        left = 1 - step / config["total_steps"]
        for group in self.optimizer.param_groups:
            group["lr"] = config["lr"] * (left if config["lr_schedule"] == "linear" else 1.0)
        batch = self.replay.sample(config["batch_size"], self.generator)
        observations, target = (part.to(self.device) for part in batch)
        latent = actor_latent(self.policy, observations)
        rows = self._rows_of(latent)
        loss = kl = self.distribution.kl(target, rows).mean()
        terms = {"loss/kl": kl}
        if self.feed_weight:
            with torch.no_grad():
                features = self.teacher.features(observations)
            terms["loss/feed"] = members_loss(self.transforms(latent), features)
            loss = loss + self.feed_weight * terms["loss/feed"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            agreement = self.distribution.agreement(target, rows).mean()
        return {"loss": loss, **terms, "agreement": agreement}

    def score(self, *, teacher: bool = False) -> Score:
        """Plays whole evaluation episodes, always the same ones; see the agents' score."""
        config = self.config
        with torch.random.fork_rng():
            torch.manual_seed(config["seed"])
            return score(
                self.loaded.model if teacher else self.student,
                config,
                episodes=config["eval_episodes"],
                deterministic=config["eval_deterministic"],
            )

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns all that training changes; see :class:`rlgen.core.step_session.StepTrainer`."""
        moments, groups = optimizer_state(self.optimizer)
        tensors: Tensors = {
            "policy": dict(self.policy.state_dict()),
            "transforms": dict(self.transforms.state_dict()),
            "optimizer": moments,
            "replay": self.replay.tensors(),
        }
        if self.loaded.normalizer is not None:
            tensors["normalizer"] = self.loaded.normalizer
        return tensors, {
            "counters": {"num_timesteps": self.env_steps},
            "collections": self.collections,
            "optimizer_groups": groups,
            "generator": generator_state(self.generator),
            "teacher_step": self.loaded.step,
        }

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            UserError: If it is of another student or of other states.
        """
        restore_policy(self.student, tensors)
        try:
            self.transforms.load_state_dict(tensors["transforms"])
            restore_optimizer(self.optimizer, tensors["optimizer"], state["optimizer_groups"])
            self.replay.restore(tensors["replay"])
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise UserError(f"the checkpoint does not fit the run's options: {reason}") from None
        restore_generator(self.generator, state["generator"])
        self.env_steps = state["counters"]["num_timesteps"]
        self.collections = state["collections"]
        if state["teacher_step"] != self.loaded.step:
            tell(
                f"the teacher stands at step {self.loaded.step:,}; kept states were labelled by it "
                f"at step {state['teacher_step']:,}"
            )

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""
        options, config = self.config["distiller"], self.config
        share = options["student_states"]
        said = f"teachers={options['teachers']}, temperature {options['temperature']:g}"
        feed = f", FEED of {self.teacher.members} member(s) with weight {self.feed_weight:g}"
        return [
            f"{said}{feed if self.feed_weight else ''}",
            f"{self.collections} collections, {self.env_steps:,} environment steps, of which the "
            f"student played {share:.0%} after the first collection; "
            f"{self.replay.size:,} states are kept",
            f"{config['batch_size']} states per step, learning rate {config['lr']:g} "
            f"({config['lr_schedule']})",
        ]
