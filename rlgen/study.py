"""``python -m rlgen.study``: does distillation's gain add to that of other techniques?"""

import sys
from collections.abc import Sequence

from rlgen.core.cli import run_command
from rlgen.core.errors import UserError, closest

HELP = """usage: python -m rlgen.study method=[none,kd,feed] technique=[...] [key=value ...]

Trains a student with and without distillation, with and without each technique, seed by seed, and
tells whether the gains add up. The same command goes on with a study that was stopped.

  method=[none,kd,feed]   distillation losses, with a weight behind a colon: kd:0.5, feed:50
  technique=[none,pruning,int8,augment,small]
    pruning:70            per cent of the weights set to zero
    int8, int4, int2      bits of the weights
    augment:mixup         or cutmix, cutout
    small:mobilenetv2-half  a classifier of rlgen in the student's place, or separable: the student
                          with depthwise-separable convolutions
  protocol=interaction    the 2x2 comparisons; or bagging: students on bootstrap resamples
    members=5             of the bagging protocol
  recipe=crossed          the method teaches in both phases; or finetune: labels first, then the
                          network teaches its pruned or quantised self
  data=cifar10            also cifar100, fashion_mnist, mnist in a folder of RLGEN_DATA, a path,
                          hub:NAME, synthetic:shapes
    train_pictures=null test_pictures=null  how many; size=null shrink=1  how large
  student=resnet20 teacher=resnet56
  epochs=240 finetune_epochs=60 teacher_epochs=null  every run has both phases
  lr=0.05 finetune_lr=0.01 momentum=0.9 weight_decay=5e-4 gamma=0.1 batch_size=64
  milestones=[0.625,0.75,0.875] finetune_milestones=[0.5,0.75]
  padding=4 flip=true     crops and flips of every run
  temperature=4 alpha=1   of KD; of mixup and cutmix
  seeds=3                 0, 1, 2: the runs of a seed share batches and first weights
  out=study               folder: config.yaml, runs.csv, table.md, interaction.png, networks/
  device=auto precision=auto threads=null
  preset=smoke            a study of seconds on drawn pictures

examples:
  python -m rlgen.study data=cifar100 seeds=5 out=ortho
  python -m rlgen.study technique=[none,pruning:50,pruning:90,int4] recipe=finetune out=compressed
  python -m rlgen.study protocol=bagging method=kd out=bagging
  python -m rlgen.study preset=smoke"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_work, lambda: HELP, argv)


def _work(arguments: list[str]) -> int:
    from rlgen.core.compose import check_options, given
    from rlgen.distill.study.options import PRESETS, StudyOptions, check_study

    for argument in arguments:
        if "=" not in argument:
            raise UserError(f"{argument!r} is not key=value; type --help for the options")
    arguments = [_as_list(argument) for argument in arguments]
    preset = given(arguments).get("preset", "full")
    if preset not in PRESETS:
        raise UserError(f"preset={preset} is unknown; {closest(preset, PRESETS)}")
    options = check_study(check_options(StudyOptions, [*PRESETS[preset], *arguments]))

    from rlgen.distill.study.command import run_study  # torch, once the options are right

    return run_study(options)


def _as_list(argument: str) -> str:
    """Lets names be typed without brackets: ``method=none,kd`` would be a sweep."""
    key, _, value = argument.partition("=")
    if key in ("method", "technique") and "," in value and not value.startswith("["):
        return f"{key}=[{value}]"
    return argument


if __name__ == "__main__":
    sys.exit(main())
