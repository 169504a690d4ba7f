"""DCI scores of VAE, beta-VAE, AC-VAE and AC-beta-VAE on the sprites world, beside the paper's.

    python benchmarks/disentanglement.py                                # a study for one core
    python benchmarks/disentanglement.py jobs=2 seeds=3 "only=[VAE, AC-VAE]"
    python benchmarks/disentanglement.py device=cuda size=64 hidden=[1200,1200] interactions=1100000
    python benchmarks/disentanglement.py report=true                    # the table of what is there

Paper: Yang, Lee, Chang, Kwak, ACML 2019, table 1. A random policy plays 30-step episodes; every
step is used once, as it comes; there is no reward and no policy to learn. All methods have the same
network, the same latent of 10 numbers, and play the same episodes with one seed. AC models are
given the action and predict the next picture; the others have no action and their target is s_t
or s_{t+1}, each half of the time (seen). beta is 6 or 1 (seen).

Budget: the paper has 1.1 million interactions and does not tell its layers. For one CPU core the
defaults have fewer interactions, small fully connected layers (these, not convolutions, are the
paper's for this world) and pictures of half the side, means of those at 64. NLL is then scaled to
the number of pixels at 64, so that beta weighs as in the paper. Not in the paper: beta rises from 0
in the first ``beta_warmup`` part of the updates, or runs spend their budget on a plateau where
nothing is encoded; and the learning rate falls linearly to 0 in the second half. A run of the
defaults takes three to four minutes of one core, the study 70 to 80. ``network=conv`` learns the
color much later.

Measured on ``samples`` steps that were not trained on, by random forests: (i) c = mu(s_t) + a_map
with the factors of s_{t+1}, (ii) c = mu(s_t) with those of s_t. Errors are of (i), relative to
guessing the mean. "own" counts which of the four moved factors are told best by the very
coordinate that their action is added to.

A run leaves FOLDER/METHOD/seedN with the model, a traversal sheet and result.json, which is written
last; what has one is not repeated. Printed: means over seeds with 95 % bootstrap interval.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from paired_runs import cell

from rlgen.agents.disentangled.dci import DCIScores, codes, dci
from rlgen.agents.disentangled.indicators import kl_per_coordinate, next_state_errors
from rlgen.agents.disentangled.loss import Objective
from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.agents.disentangled.traverse import traversal_sheet
from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError, closest
from rlgen.core.run import write_text
from rlgen.core.seeding import spawn_generators
from rlgen.envs.sprites import ACTIONS, FACTORS
from rlgen.envs.sprites_vector import SpritesVectorEnv

LATENT = 10
RESULT = "result.json"
# Whether the model is given the action, and whether its beta is the option's or 1.
METHODS = {
    "VAE": (False, False),
    "beta-VAE": (False, True),
    "AC-VAE": (True, False),
    "AC-beta-VAE": (True, True),
}
PAPER = {
    "VAE": (0.191, 0.217),
    "beta-VAE": (0.813, 0.741),
    "AC-VAE": (0.798, 0.754),
    "AC-beta-VAE": (0.865, 0.766),
}
ORDER = (("AC-beta-VAE", "beta-VAE"), ("beta-VAE", "VAE"), ("AC-beta-VAE", "AC-VAE"))
FIGURES = ("D", "C", "D (ii)", "C (ii)", "error", "own", "KL", "gain")


@dataclass
class StudyOptions:
    """Options of the study."""

    seeds: int = 5
    first_seed: int = 0
    interactions: int = 480_000
    batch_size: int = 32  # worlds that play side by side; a step of all is an update
    learning_rate: float = 1e-3
    beta: float = 6.0
    beta_warmup: float = 0.2
    size: int = 32
    network: str = "mlp"
    hidden: list[int] = field(default_factory=lambda: [256, 128])
    channels: list[int] = field(default_factory=lambda: [8, 16, 32])  # of network=conv
    samples: int = 4000
    device: str = "cpu"
    only: list[str] = field(default_factory=lambda: list(METHODS))
    jobs: int = 1
    report: bool = False
    out: str = "runs/disentanglement"


# What may differ between calls that share a folder.
_FREE = ("seeds", "first_seed", "only", "jobs", "report", "out", "device")


def settings(options: StudyOptions) -> dict[str, Any]:
    """Returns the options that a result depends on."""
    return {key: value for key, value in asdict(options).items() if key not in _FREE}


def folder(options: StudyOptions, method: str, seed: int) -> Path:
    """Returns the folder of a run."""
    return Path(options.out) / method.lower() / f"seed{seed}"


def pictures(observations: npt.NDArray[np.uint8], device: str) -> torch.Tensor:
    """Returns (batch, 3, size, size), 0 to 1."""
    return torch.from_numpy(observations).to(device).permute(0, 3, 1, 2).float().div_(255)


@dataclass
class Steps:
    """A step of some worlds: states, action vectors, next states and the factors of both."""

    states: torch.Tensor
    actions: torch.Tensor
    after: torch.Tensor
    factors: npt.NDArray[np.int64]
    factors_after: npt.NDArray[np.int64]


def play(options: StudyOptions, worlds: int, seed: int) -> Iterator[Steps]:
    """Plays worlds by a random policy; next states at an episode's end are its last pictures."""
    draws = spawn_generators(seed, "episodes", "actions")
    env = SpritesVectorEnv(worlds, size=options.size, staggered=True)
    observations, info = env.reset(seed=int(draws["episodes"].integers(2**31)))
    while True:
        moves = draws["actions"].integers(3, size=(worlds, ACTIONS))
        factors = info["factors"]
        fresh, _, _, ended, info = env.step(moves)
        after, reached = fresh.copy(), info["factors"].copy()
        for i in np.flatnonzero(ended):
            after[i], reached[i] = info["final_obs"][i], info["final_info"]["factors"][i]
        yield Steps(
            pictures(observations, options.device),
            torch.from_numpy(moves - 1).float().to(options.device),
            pictures(after, options.device),
            factors,
            reached,
        )
        observations = fresh


def train(
    options: StudyOptions, method: str, seed: int
) -> tuple[ActionConditionalVAE, list[float]]:
    """Trains a model on-line; returns it with the NLL at 64 x 64 of the last tenth, and the KL."""
    given, high = METHODS[method]
    torch.manual_seed(seed)
    vae = ActionConditionalVAE(
        (3, options.size, options.size),
        ACTIONS if given else 0,
        LATENT,
        network=options.network,
        hidden=options.hidden,
        activation="relu",
        channels=options.channels,
    ).to(options.device)
    optimizer = torch.optim.Adam(vae.parameters(), lr=options.learning_rate, fused=True)
    # NLL is of options.size squared pixels: dividing beta is multiplying that.
    scale = (64 / options.size) ** 2
    beta = (options.beta if high else 1.0) / scale
    updates = options.interactions // options.batch_size
    rising = max(1, round(options.beta_warmup * updates))
    steps, late = play(options, options.batch_size, seed), []
    choices = torch.Generator().manual_seed(seed)
    for update in range(updates):
        step = next(steps)
        target = step.after
        if not given:
            same = torch.rand(len(target), generator=choices).to(options.device) < 0.5
            target = torch.where(same[:, None, None, None], step.states, target)
        out = vae(step.states, step.actions if given else step.actions[:, :0])
        goal = Objective(beta=beta * min(1.0, update / rising))
        set_rate(optimizer, options.learning_rate * min(1.0, 2 * (1 - update / updates)))
        terms = goal(out.prediction, target, out.mu, out.sigma, likelihood=vae.likelihood)
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
        if update >= 0.9 * updates:
            late.append((scale * terms.nll.item(), terms.kl.item()))
    return vae.eval(), np.mean(late, axis=0).tolist()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def measure(options: StudyOptions, vae: ActionConditionalVAE, seed: int) -> dict[str, Any]:
    """Returns the figures of a trained model, on episodes of their own."""
    step = next(play(options, options.samples, 1_000_000 + seed))
    actions = step.actions if vae.action_dim else None
    main = dci(codes(vae, step.states, actions), step.factors_after, seed=seed)
    second = dci(codes(vae, step.states), step.factors, seed=seed)
    kl = kl_per_coordinate(vae, step.states)
    figures: dict[str, Any] = {"D": main.disentanglement, "C": main.completeness}
    figures |= {"D (ii)": second.disentanglement, "C (ii)": second.completeness}
    figures |= {"error": float(main.errors.mean()), "own": own_factors(main), "KL": float(kl.sum())}
    figures["gain"] = None  # models without an action have none
    if actions is not None:
        errors = next_state_errors(vae, step.states, actions, step.after)
        figures["gain"] = errors.gain / errors.true
    return {
        "figures": figures,
        "errors": dict(zip(FACTORS, main.errors.tolist(), strict=True)),
        "kl": kl.tolist(),
        "importance": main.importance.tolist(),
        "depths": list(main.depths),
    }


def own_factors(scores: DCIScores) -> float:
    """Returns how many of the moved factors are told best by the coordinate of their action."""
    return float((scores.importance.argmax(0)[:ACTIONS] == np.arange(ACTIONS)).sum())


def run(options: StudyOptions, method: str, seed: int) -> None:
    """Trains and measures one model, unless its result is there."""
    place = folder(options, method, seed)
    if read_result(options, method, seed) is not None:
        return
    torch.set_num_threads(1)
    begin, cpu = time.perf_counter(), time.process_time()
    vae, (nll, kl) = train(options, method, seed)
    measured = measure(options, vae, seed)
    seconds = {"seconds": time.perf_counter() - begin, "cpu_seconds": time.process_time() - cpu}
    place.mkdir(parents=True, exist_ok=True)
    vae.save_pretrained(place / "model")
    state = next(play(options, 8, 2_000_000)).states[:1]
    traversal_sheet(vae, state).save(place / "traversal.png")
    result = {"settings": settings(options), "nll": nll, "kl": kl, **measured, **seconds}
    write_text(place / RESULT, json.dumps(result, indent=1))
    shown = {name: round(value, 3) for name, value in measured["figures"].items() if value}
    print(f"{place}: {seconds['cpu_seconds']:.0f} s of CPU, NLL {nll:.0f}, {shown}", flush=True)


def read_result(options: StudyOptions, method: str, seed: int) -> dict[str, Any] | None:
    """Returns the result of a run, None where there is none.

    Raises:
        UserError: If it was made with other settings.
    """
    path = folder(options, method, seed) / RESULT
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    wanted = settings(options)
    other = [key for key in wanted if result["settings"].get(key) != wanted[key]]
    if other:
        key = other[0]
        raise UserError(
            f"{path} was made with {key}={result['settings'].get(key)}, not {wanted[key]}; type "
            "that, or name another folder by out="
        )
    return result


def report(options: StudyOptions) -> list[str]:
    """Returns the lines of the tables of what is there."""
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for method in options.only:
        there = {seed: read_result(options, method, seed) for seed in seeds}
        runs[method] = {seed: result for seed, result in there.items() if result is not None}
    lines = ["| method | seeds | D, paper | C, paper | " + " | ".join(FIGURES) + " |"]
    lines.append("| --- |" + " --- |" * (3 + len(FIGURES)))
    for method, results in runs.items():
        cells = [f"{value:.3f}" for value in PAPER[method]]
        cells += [_cell([r["figures"][name] for r in results.values()]) for name in FIGURES]
        lines.append(f"| {method} | {len(results)} | " + " | ".join(cells) + " |")
    lines += ["", "| error of | " + " | ".join(FACTORS) + " |", "| --- |" + " --- |" * len(FACTORS)]
    for method, results in runs.items():
        cells = [_cell([r["errors"][name] for r in results.values()]) for name in FACTORS]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    lines += ["", "| difference, same seeds | D | C |", "| --- | --- | --- |"]
    for high, low in ORDER:
        both = sorted({*runs.get(high, {})} & {*runs.get(low, {})})
        apart = [
            _cell([runs[high][s]["figures"][x] - runs[low][s]["figures"][x] for s in both])
            for x in "DC"
        ]
        lines.append(f"| {high} - {low} | " + " | ".join(apart) + " |")
    return lines


def _cell(values: list[Any]) -> str:
    return cell(np.array(values), digits=3) if values and None not in values else "-"


def main(arguments: list[str]) -> int:
    """Runs the study and prints its tables."""
    options = check_options(StudyOptions, arguments)
    for method in options.only:
        if method not in METHODS:
            raise UserError(f"method {method!r} is unknown; {closest(method, METHODS)}")
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    todo = [(method, seed) for seed in seeds for method in options.only]  # a seed of all first
    if not options.report and options.jobs > 1:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.jobs, spawn) as pool:
            for future in [pool.submit(run, options, *each) for each in todo]:
                future.result()
    elif not options.report:
        for method, seed in todo:
            run(options, method, seed)
    print("\n".join(["", *report(options), ""]))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
