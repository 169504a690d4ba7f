"""Teacher and student of a run, built and checked before there is a run folder."""

from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.build import build_env
from rlgen.core.errors import UserError
from rlgen.core.loop import make_accelerator
from rlgen.policy_distillation.distributions import distribution_of
from rlgen.policy_distillation.session import PolicySession
from rlgen.policy_distillation.sizes import (
    TeacherSize,
    choose_widths,
    student_parameters,
    teacher_size,
)
from rlgen.policy_distillation.source import (
    LoadedTeacher,
    build_teacher,
    load_teacher,
    train_short_teacher,
)
from rlgen.policy_distillation.student import build_student, is_picture, policy_of
from rlgen.policy_distillation.teacher import Teacher, make_teacher
from rlgen.policy_distillation.training import PolicyTrainer


class Pair:
    """A teacher's agent and a student on environments of their own.

    Args:
        config: Of the run; the student's widths are put in where they are not known yet.
        folder: The teacher's run; None: it is trained first.
        teacher: Its configuration.

    Raises:
        UserError: If the two do not fit each other, or an option does not fit them.
    """

    def __init__(
        self, config: dict[str, Any], folder: Path | None, teacher: dict[str, Any]
    ) -> None:
        self.accelerator = make_accelerator(config["device"], "fp32")
        self.config, self.folder = config, folder
        self.teacher_config = {**teacher, "device": config["device"], "threads": config["threads"]}
        self._envs: list[VecEnv] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the environments."""
        while self._envs:
            self._envs.pop().close()

    def _open(self, config: dict[str, Any], **kwargs: Any) -> VecEnv:
        self._envs.append(build_env(config, **kwargs))
        return self._envs[-1]

    def _build(self) -> None:
        config = self.config
        env = self._open(self.teacher_config)
        if config["device"] == "auto" and not is_picture(env.observation_space):
            self.teacher_config["device"] = "cpu"  # where the student is
        self.model = build_teacher(self.teacher_config, env)
        space, actions = self.model.observation_space, self.model.action_space
        policy_of(space, [1])  # refuses what no plain policy takes
        self.distribution = distribution_of(actions)
        tau = config["distiller"]["temperature"]
        if tau != 1 and not self.distribution.tempered:
            raise UserError(
                f"distiller.temperature={tau:g} is for discrete actions, {config['env']} has "
                "continuous ones; leave it out"
            )
        loaded = None if self.folder is None else self._load(self.folder)
        size = self._check_teacher(loaded)
        known = config["agent"]["widths"]
        if known is not None and config["student"] not in (None, known):
            raise UserError(f"the run's student is {known}; leave student out, or start a new run")
        if known is None:
            config["agent"]["widths"] = choose_widths(
                config["student"],
                config["student_size"],
                size.acting if loaded is None else size.open,
                lambda widths: student_parameters(space, actions, widths),
                1 if is_picture(space) else 2,
            )
        self.student = build_student(config, self._open(config, training=False))
        self.parameters = student_parameters(space, actions, config["agent"]["widths"])

    def _load(self, folder: Path) -> LoadedTeacher:
        return load_teacher(folder, self.teacher_config, self.model, self.config["which"])

    def _teacher(self, loaded: LoadedTeacher | None) -> Teacher:
        if loaded is None:  # not trained yet
            evolution = getattr(self.model, "evolution", None)
            population = None if evolution is None else evolution.population
        else:
            population = loaded.population
        options = self.config["distiller"]
        return make_teacher(self.model.policy, self.distribution, options, population)

    def _check_teacher(self, loaded: LoadedTeacher | None) -> TeacherSize:
        """Returns the teacher's size; asks it for features where they are needed."""
        teacher = self._teacher(loaded)
        sample = torch.as_tensor(self.model.observation_space.sample(), device=self.model.device)
        if self.config["distiller"]["feed_weight"]:
            teacher.features(sample.unsqueeze(0))
        return teacher_size(teacher, sample.unsqueeze(0))

    def session(self, run: Path) -> PolicySession:
        """Returns the session of a run folder; a teacher that is not trained yet is trained."""
        folder = self.folder
        if folder is None:
            folder = train_short_teacher(run, self.teacher_config)
        loaded = self._load(folder)
        config = self.config
        if config["threads"] is None and not is_picture(self.model.observation_space):
            config = {**config, "threads": 1}
        trainer = PolicyTrainer(config, loaded, self._teacher(loaded), self.student)
        size = self._check_teacher(loaded)
        return PolicySession(run, config, trainer, self.accelerator, size, self.parameters, folder)
