"""``python -m rlgen.train agent=g2n env=Breakout``: one door to every training job.

Heavy libraries are imported where they are used, so that ``--help`` and mistakes answer at once.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from rlgen.core.cli import run_command, tell
from rlgen.core.errors import UserError

# The option that names what is trained, and the module that knows such jobs.
JOBS = {
    "agent": "rlgen.agents.job",
    "model": "rlgen.generative.job",
    "distiller": "rlgen.distill.job",
    "learner": "rlgen.continual.job",
}

# Distilling policies reads the agents, and so stands above the families.
POLICY_JOB = "rlgen.policy_distillation.job"

# What a resumed run does not take anew.
FIXED = (
    *("resume=", "run_root=", "run_dir=", "preset=", "env=", "task="),
    *(f"{kind}=" for kind in JOBS),
)

HELP = """usage: python -m rlgen.train [-m] [key=value ...]

an agent on an environment:
  agent=g2n|g2ppo|g2ac|ppo|a2c   the learner (g2n: g2ac on Atari, else g2ppo)
  agent=disentangled             acts on a latent one can read; agent.base=ppo|a2c|random
  env=Breakout                   any Atari game, Gymnasium id, or module:Id-v0
  total_timesteps=1_000_000  n_envs=8
  agent.KEY=VALUE                an option of the agent, such as agent.learning_rate=1e-3

an image model:
  model=sgn                      mixed-domain translation
  data.photos=FOLDER             photos, a folder or a tar archive
  domains="{{NAME: reconstruction, NAME: {{adversarial: FOLDER}}, NAME: {{style: IMAGE}}}}"
  total_steps=30_000  size=256  batch_size=4  perceptual=VGG16_WEIGHTS
  model=latent_density           new images: an autoencoder, and the density of its latents
  data=fashion_mnist             a set in a folder of RLGEN_DATA, a folder or a tar archive
  total_steps=8000  size=64      of both parts; the density's are the last model.density_steps
  model.density=lde              lde|gaussian|gmm|flow|vae|diffusion|prior;  model.dim=16
  model.KEY=VALUE                an option of the model, such as model.width=32

a small classifier taught by others:
  distiller=kd|fitnets|at|ft|ab|rkd|ofd|feed|lsfd   by teachers, or none: by the labels alone
  distiller=dml|one|ffl|afd      peers that teach each other
  student=resnet20               teacher=resnet56 is trained first, in the same run
  teacher=RUN                    a trained one, or a .safetensors file; [A,B] for several
  n_teachers=1  peers=2          of one kind; peers=[resnet20,resnet32]  branch_at=layer3
  stages=3                       each student teaches the next one (sFEED)
  data=cifar10                   in a folder of RLGEN_DATA, a path, hub:NAME, synthetic:shapes
  epochs=200  batch_size=128  lr=0.1  milestones=[0.5,0.75]
  distiller.KEY=VALUE            an option of the method, such as distiller.temperature=3
  task=super_resolution          a network that enlarges pictures instead; by lsfd, fitnets, at,
                                 feed, ft, or none
    data=FOLDER                  large pictures, [A,B] for several; test=[set5,set14] of RLGEN_DATA
    teacher=edsr_baseline  student=edsr_small  scale=2|3|4  patch_size=48  alpha=0.5

a small policy taught by a trained agent:
  distiller=policy               into a plain SB3 model; CartPole-v1 with preset=smoke
  teacher=RUN                    the run of an agent; a population is taught by its elite
  student=[16,16]                widths, or student_size=0.25 of what the teacher needs to act
  total_steps=10_000  batch_size=256  lr=1e-3; always in fp32
  distiller.KEY=VALUE            an option, such as distiller.teachers=mean

a classifier that learns task after task:
  learner=hcnet|cnet             stacked filters per task; hcnet finds a picture's task itself
  learner=packnet|ewc|lwf|replay|finetune|joint   to compare with
  stream=[mnist,fashion_mnist,cifar10]   sets in folders of RLGEN_DATA, paths, hub:NAME
  stream=split_mnist             also permuted_mnist; tasks=5 of one set;  stream=drawn: no data
  network=resnet20  size=32  channels=3  train=5000 pictures of each task  epochs=10; in fp32
  learner.index=gan              autoencoder|prototype|density: what finds the task (hcnet)
  learner.KEY=VALUE              an option of the learner, such as learner.grow=true

all:
  seed=0  device=auto  precision=auto|fp32|bf16
  run_dir=PATH                   instead of a new folder under runs/
  resume=latest|PATH             go on with a run
  preset=smoke                   a minute-long run that leaves everything a real one does
  -m                             sweep: seed=0,1,2 or 'seed=range(0,5)', one run after another

examples:
  python -m rlgen.train agent=g2n env=Breakout
  python -m rlgen.train agent=g2ac env=CartPole-v1 total_timesteps=200_000 seed=1
  python -m rlgen.train -m agent=ppo,g2ppo env=MinAtar/Breakout-v1 'seed=range(0,5)'
  python -m rlgen.train resume=latest total_timesteps=20_000_000
  python -m rlgen.train model=sgn preset=smoke
  python -m rlgen.train model=latent_density data=fashion_mnist
  python -m rlgen.train distiller=feed data=cifar10 teacher=resnet56 n_teachers=3 student=resnet20
  python -m rlgen.train distiller=lsfd task=super_resolution data=FOLDER teacher=edsr_baseline
  python -m rlgen.train learner=hcnet stream=[mnist,fashion_mnist,cifar10]

all options of agents: {options}
of g2ppo (under agent.): {agent_options}
all options of image models: {image_options}
of sgn (under model.): {model_options}
of latent_density (under model.): {latent_options}
all options of distillation: {distill_options}
of all its methods (under distiller.): {distiller_options}
all options of distiller=policy: {policy_options}
its own (under distiller.): {policy_distiller_options}
all options of continual learning: {learner_train_options}
of all learners (under learner.): {learner_options}
a run leaves config.yaml, progress.csv, TensorBoard events, checkpoints/, learning_curve.png and
card.md; an agent's also episodes.csv, best/ and video/, a model's samples/ and pipeline/, a
distillation's student/ and teachers/, a learner's matrix.png and tasks.csv; see also
python -m rlgen evaluate --help, plot --help, generate --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0, 1 (failed), 2 (user's mistake) or 130."""
    return run_command(_work, _help, argv)


def _help() -> str:
    from rlgen.agents.job import TrainOptions
    from rlgen.agents.options import G2PPOOptions
    from rlgen.continual.options import OPTIONS, LearnerTrainOptions
    from rlgen.distill.options import DistillerOptions, DistillTrainOptions
    from rlgen.generative.options import ImageTrainOptions, LatentDensityOptions, SGNOptions
    from rlgen.policy_distillation.options import FROM_TEACHER, PolicyOptions, PolicyTrainOptions

    return HELP.format(
        options=" ".join(f.name for f in fields(TrainOptions)),
        agent_options=" ".join(f.name for f in fields(G2PPOOptions)),
        image_options=" ".join(f.name for f in fields(ImageTrainOptions)),
        model_options=" ".join(f.name for f in fields(SGNOptions)),
        latent_options=" ".join(f.name for f in fields(LatentDensityOptions)),
        distill_options=" ".join(f.name for f in fields(DistillTrainOptions)),
        distiller_options=" ".join(f.name for f in fields(DistillerOptions)),
        policy_options=" ".join(
            f.name for f in fields(PolicyTrainOptions) if f.name not in FROM_TEACHER
        ),
        policy_distiller_options=" ".join(f.name for f in fields(PolicyOptions)),
        learner_train_options=" ".join(f.name for f in fields(LearnerTrainOptions)),
        learner_options=" ".join(
            dict.fromkeys(f.name for o in OPTIONS.values() for f in fields(o))
        ),
    )


def _work(arguments: list[str]) -> int:
    from rlgen.core.compose import expand_sweep

    sweep = [a for a in arguments if a in ("-m", "--multirun")]
    arguments = [a for a in arguments if a not in sweep]
    jobs = expand_sweep(arguments)
    if len(jobs) > 1 and not sweep:
        raise UserError(f"{len(jobs)} runs are asked for; add -m to run them one after another")
    for number, job in enumerate(jobs, start=1):
        if sweep:
            tell(f"run {number} of {len(jobs)}: {' '.join(job)}")
        code = _train(job)
        if code:
            return code
    return 0


def _train(arguments: list[str]) -> int:
    from rlgen.core.compose import given, update
    from rlgen.core.job import run_session
    from rlgen.core.run import create_run, find_run, read_config

    typed = given(arguments)
    job: Any = import_module(_home(typed))
    resumed = bool(typed.get("resume"))
    folder = Path()
    if resumed:
        folder = find_run(
            typed["resume"], Path(typed.get("run_root", "runs")), _name_to_resume(job, arguments)
        )
        config = read_config(folder)
        job = import_module(_home(config))
        config = update(config, [a for a in arguments if not a.startswith(FIXED)])
    else:
        config = job.compose_train_config(arguments)
    job.check_config(config)
    _plug_in(config)
    with job.opened(config) as (make_session, once):
        if not resumed:
            root, name = Path(config["run_root"]), job.job_name(config)
            folder = once(lambda: create_run(root, name, config["seed"], config, config["run_dir"]))
        command = f"python -m rlgen.train {shlex.join(arguments)}"
        session = make_session(folder)
        return run_session(session, folder, config, command, resumed=resumed, once=once)


def _home(values: dict[str, Any]) -> str:
    """Returns the module that knows the job of arguments or of a configuration."""
    distiller = values.get("distiller")
    name = distiller.get("name") if isinstance(distiller, dict) else distiller
    return POLICY_JOB if name == "policy" else JOBS[_kind(values)]


def _plug_in(config: dict[str, Any]) -> None:
    """Imports what stands above a family and adds a name to its registry, where one is asked for.

    The learners' own task indices need none; for an unknown one the message shall know all names.
    """
    learner = config.get("learner")
    if isinstance(learner, dict) and "index" in learner:
        from rlgen.continual.hnet import TASK_INDICES

        if learner["index"] not in TASK_INDICES:
            import_module("rlgen.density_index")


def _kind(values: dict[str, Any]) -> str:
    """Returns which kind of job arguments or a configuration are of; agents are the default."""
    named = [kind for kind in JOBS if kind in values]
    if len(named) > 1:
        raise UserError(f"{' and '.join(named)} are given; a run trains one of them: leave one out")
    return named[0] if named else "agent"


def _name_to_resume(job: Any, arguments: list[str]) -> str | None:
    """Returns of which job ``resume=latest`` takes the latest run; None for any."""
    from rlgen.core.compose import given

    typed = given(arguments)
    if any(kind in typed for kind in ("model", "distiller", "learner")) or (
        "agent" in typed and "env" in typed
    ):
        return str(job.job_name(job.compose_train_config(arguments)))
    return None


if __name__ == "__main__":
    sys.exit(main())
