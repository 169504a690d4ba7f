"""Training a latent-density autoencoder: the autoencoder, then the density of its latents.

Paper: arXiv 1902.04294 (see :mod:`rlgen.generative.latent_density.autoencoder`). Losses, schedule
of the coordinates and the autoencoder's optimiser are those of the authors' released code, in two
stages as in its final version (spec section b, seen). Reconstructed: milestones of the learning
rate are shares of the training instead of the epochs 20, 50, 100 of 200, so that shorter runs have
them too. Everything random in
step k is a function of (seed, k): a resumed run goes on exactly, in either stage.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from rlgen.core.errors import UserError, closest
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.data.pixels import PixelBatches, open_pixels
from rlgen.generative.latent_density.autoencoder import (
    RANGES,
    LatentAutoencoder,
    open_coordinates,
)
from rlgen.generative.latent_density.codec import LatentCodec
from rlgen.generative.latent_density.density import (
    DENSITIES,
    GradientDensity,
    GradientFit,
    LatentDensity,
)
from rlgen.generative.latent_density.loss import ReconstructionLoss
from rlgen.generative.latent_density.measures import (
    encode_all,
    prefix_errors,
    prefixes,
    quantiles,
    to_signed,
)
from rlgen.generative.latent_density.pictures import (
    Row,
    interpolation_row,
    reconstruction_rows,
    sample_rows,
    table,
)
from rlgen.generative.latent_density.pipeline import LatentDensityPipeline
from rlgen.generative.registry import MODELS, Tensors
from rlgen.generative.sheets import save_png
from rlgen.nets.perceptual import load_vgg16

MEASURED = 2000  # held-out images in the card's errors
SHEET_SAMPLES, SHEET_IMAGES = 64, 4


@MODELS.register("latent_density")
class LatentDensityTrainer:
    """Trains an autoencoder and, on its latents, a density.

    Args:
        config: As the train command composes it.
        accelerator: Device, precision and peers.

    Raises:
        UserError: If an option, a folder or a file is wrong.
    """

    def __init__(self, config: dict[str, Any], accelerator: Accelerator) -> None:
        self.config = config
        self.options: dict[str, Any] = config["model"]
        self.accelerator = accelerator
        self.device: torch.device = accelerator.device
        self._check_options()
        self.sets = open_pixels(config["data"]["photos"], config["size"], self.options["channels"])
        self.batches = PixelBatches(
            self.sets.train,
            config["batch_size"],
            config["seed"],
            self.device,
            flip=config["data"]["flip"],
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        torch.manual_seed(config["seed"])
        self._make_autoencoder()
        torch.manual_seed(config["seed"])
        self.density = self._make_density().to(self.device)
        self.density.check_fit(len(self.sets.train))  # now, not after the autoencoder
        self.autoencoder_steps: int = config["total_steps"] - self._density_steps()
        self.fit: GradientFit | None = None
        self.fitted = False  # whether the density has been begun
        self._opened = 1  # coordinates never close again, not even where total_steps grows

    def _check_options(self) -> None:
        options = self.options
        if self.config["domains"]:
            raise UserError("domains= is for model=sgn; leave it out")
        if options["channels"] == 2:
            raise UserError("model.channels=2; allowed: 1 (grey) and 3 (RGB)")
        if options["density"] not in DENSITIES:
            hint = closest(str(options["density"]), DENSITIES)
            raise UserError(f"unknown model.density {options['density']!r}; {hint}")
        milestones = options["milestones"]
        if not isinstance(milestones, list) or not all(0 <= share <= 1 for share in milestones):
            raise UserError(f"model.milestones={milestones}; shares from 0 to 1 are needed")
        if self.config["total_steps"] <= self._density_steps():
            raise UserError(
                f"total_steps={self.config['total_steps']} leaves no step for the autoencoder; "
                f"type more than model.density_steps={self._density_steps()}"
            )

    def _density_steps(self) -> int:
        """Returns the steps of the density: one where it takes all latents at once."""
        by_steps = issubclass(DENSITIES[self.options["density"]], GradientDensity)
        return int(self.options["density_steps"]) if by_steps else 1

    def _make_autoencoder(self) -> None:
        options = self.options
        channels, size, _ = self.sets.shape
        limits = RANGES[0] if channels == 1 else RANGES[1]  # as in the paper
        self.autoencoder = LatentAutoencoder(
            size=size,
            channels=channels,
            output_range=limits,
            **{name: options[name] for name in ("dim", "width", "norm_scale")},
        ).to(self.device)
        self.codec = LatentCodec(self.autoencoder)
        features = None
        if options["perceptual"]:
            features = load_vgg16(self.config["perceptual"]).to(self.device)
        self.loss = ReconstructionLoss(features, options["perceptual"], limits)
        betas = (options["beta1"], options["beta2"])
        self.optimizer = torch.optim.Adam(
            self.autoencoder.parameters(), options["learning_rate"], betas, fused=True
        )
        self.wrapped = self.accelerator.prepare(self.autoencoder)

    def _make_density(self) -> LatentDensity:
        name, given = self.options["density"], self.options["density_options"]
        try:
            return DENSITIES[name](dim=self.options["dim"], **given)
        except TypeError as error:
            raise UserError(
                f"model.density_options={given} do not fit model.density={name}: {error}"
            ) from None

    def learning_rate(self, step: int) -> float:
        """Returns the autoencoder's learning rate: halved at each milestone."""
        passed = sum(step >= share * self.autoencoder_steps for share in self.options["milestones"])
        return float(self.options["learning_rate"] * 0.5**passed)

    def opened(self, step: int) -> int:
        """Returns k, how many coordinates reach the decoder at a step."""
        dim, warmup = self.options["dim"], self.options["warmup"]
        if warmup is None:  # half of the training; k depends on t / W, so steps do as well
            k = open_coordinates(step, dim, self.autoencoder_steps / 2)
        else:
            k = open_coordinates(step / self.batches.steps_per_epoch, dim, warmup)
        return max(k, self._opened)

    def train_step(self, step: int) -> dict[str, torch.Tensor]:
        """Takes a step of the autoencoder or, later, of the density.

        Args:
            step: Number of the step, from 0.

        Returns:
            Named terms; ``loss/autoencoder`` or ``loss/density`` is minimised.
        """
        if step < self.autoencoder_steps:
            return self._autoencoder_step(step)
        return {"loss/density": torch.tensor(self._density_step())}

    def _autoencoder_step(self, step: int) -> dict[str, torch.Tensor]:
        """Spec section b, stage 1: x~ = Dec(E(x) * m_k), and a step on its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(step)
            group["betas"] = (self.options["beta1"], self.options["beta2"])
        self.wrapped.train()
        x = self.codec.to_range(to_signed(self.batches.at(step)))
        self._opened = k = self.opened(step)
        with self.accelerator.autocast():
            output = self.wrapped(x, k)
            terms = self.loss(output, x)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.optimizer.step()
        named = {f"autoencoder/{name}": term.detach() for name, term in terms.items()}
        opened = torch.tensor(float(k))
        return {**named, "autoencoder/coordinates": opened, "loss/autoencoder": loss.detach()}

    def _density_step(self) -> float:
        """Stage 2: the autoencoder is frozen, in eval mode, and encodes all images once."""
        if not self.fitted:
            self._begin_density()
        if self.fit is not None:
            return self.fit.step()
        options = self.options
        losses = self.density.fit(
            encode_all(self.codec, self.sets.train, self.device),
            steps=options["density_steps"],
            batch_size=options["density_batch_size"],
            seed=self.config["seed"],
        )
        return losses[-1]

    def _begin_density(self) -> None:
        self.autoencoder.eval()
        self.fitted = True
        if not isinstance(self.density, GradientDensity):
            return
        latents = encode_all(self.codec, self.sets.train, self.device)
        self.fit = GradientFit(
            self.density,
            self.density.standardise_on(latents),
            steps=self.config["total_steps"] - self.autoencoder_steps,
            batch_size=self.options["density_batch_size"],
            seed=self.config["seed"],
            learning_rate=self.options["density_learning_rate"],
            holdout=self.options.get("density_holdout", 0.0),  # older runs have none
        )

    def pipeline(self) -> LatentDensityPipeline:
        """Returns the present model; before the second stage its density is that of the start."""
        self.density.eval()
        return LatentDensityPipeline(self.autoencoder, self.density)

    def draw_samples(self, path: Path) -> None:
        """Draws samples, reconstructions by prefix and interpolations; samples once there are."""
        training = self.autoencoder.training
        pipeline = self.pipeline()
        images = to_signed(self.sets.test.pixels[:SHEET_IMAGES])
        rows: list[Row] = []
        if self.fitted:
            generator = torch.Generator().manual_seed(self.config["seed"])
            drawn = pipeline.sample(SHEET_SAMPLES, self.options["temperature"], generator)
            rows += sample_rows(drawn)
        rows += reconstruction_rows(pipeline, images)
        if self.fitted and len(images) > 1:
            rows.append(interpolation_row(pipeline, images[0], images[1], 8))
        save_png(table(rows), path, {"Software": "rlgen"})
        self.autoencoder.train(training)

    def export(self, folder: Path) -> None:
        """Saves the pipeline, with the scores of held-out images."""
        reference = None
        if self.density.has_log_prob:
            reference = quantiles(self._test_scores())
        self.density.eval()
        LatentDensityPipeline(
            self.autoencoder.cpu().eval(), self.density.cpu(), reference=reference
        ).save_pretrained(folder)
        self.autoencoder.to(self.device)
        self.density.to(self.device)

    @torch.no_grad()
    def _test_scores(self) -> torch.Tensor:
        return self.density.log_prob(encode_all(self.codec, self.sets.test, self.device))

    def title(self) -> str:
        """Returns what the card's title says beside the model's name."""
        return f"{self.options['density']} on {self.config['data']['photos']}"

    def usage(self, folder: Path) -> str:
        """Returns a command that uses the finished run."""
        return f"python -m rlgen.generate model={folder} count=64 grid=true"

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""
        encoder, decoder, density = (
            sum(p.numel() for p in part.parameters())
            for part in (self.autoencoder.encoder, self.autoencoder.decoder, self.density)
        )
        channels, size, _ = self.sets.shape
        held_out = self.sets.test.pixels[:MEASURED]
        lengths = prefixes(self.options["dim"])
        epochs = self.autoencoder_steps / self.batches.steps_per_epoch
        self.autoencoder.eval()
        errors = prefix_errors(self.codec, type(self.sets.test)(held_out), lengths, self.device)
        shown = ", ".join(f"{k}: {e:.4f}" for k, e in zip(lengths, errors, strict=True))
        lines = [
            f"images: {self.sets.source}, {len(self.sets.train)} to train on and "
            f"{len(self.sets.test)} others, {channels} x {size} x {size}",
            f"encoder of {encoder:,} parameters, decoder {decoder:,}, density {density:,}",
            f"autoencoder: {self.autoencoder_steps:,} steps, {epochs:.3g} epochs; then the density",
            f"mean squared error of {len(held_out)} others by coordinates kept (pixels 0 to 1): "
            f"{shown}",
        ]
        if self.fitted and self.density.has_log_prob:
            scores = self._test_scores()
            lines.append(
                f"log-density of the others' latents: {scores.mean():.2f} nats a vector, deviation "
                f"{scores.std(correction=0):.2f}; it is no likelihood of pixels"
            )
        return lines

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns all that training changes."""
        tensors: Tensors = {"autoencoder": dict(self.autoencoder.state_dict())}
        state: dict[str, Any] = {
            "shape": list(self.sets.shape),
            "density": self.options["density"],
            "density_begun": self.fitted,
        }
        if not self.fitted:
            tensors["optimizer"], state["optimizer"] = optimizer_state(self.optimizer)
            state["opened"] = self._opened
            return tensors, state
        state["autoencoder_steps"] = self.autoencoder_steps
        if self.fit is None:
            return {**tensors, "density": dict(self.density.state_dict())}, state
        of_fit, values = self.fit.state()
        return {**tensors, **of_fit}, {**state, **values}

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            UserError: If it is of other images, of another density or of networks of another
                shape, or nothing is left to train.
        """
        if state["shape"] != list(self.sets.shape):
            raise UserError(
                f"the run's images were {state['shape']} (channels, height, width), these are "
                f"{list(self.sets.shape)}; leave out size= and data="
            )
        try:
            self.autoencoder.load_state_dict(tensors["autoencoder"])
            if not state["density_begun"]:
                restore_optimizer(self.optimizer, tensors["optimizer"], state["optimizer"])
                self._opened = int(state["opened"])
                return
            self._restore_density(tensors, state)
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[-1].strip()
            raise UserError(f"the checkpoint does not fit the model: {reason}") from None

    def _restore_density(self, tensors: Tensors, state: dict[str, Any]) -> None:
        if state["density"] != self.options["density"]:
            raise UserError(
                f"the run has begun its density {state['density']}; it cannot go on with "
                f"model.density={self.options['density']}"
            )
        # The autoencoder is done: further steps are the density's.
        self.autoencoder_steps = int(state["autoencoder_steps"])
        total = self.config["total_steps"]
        if not isinstance(self.density, GradientDensity) and total > self.autoencoder_steps + 1:
            raise UserError(
                f"the run is done: its density {state['density']} took one step; start a new run "
                f"for total_steps={total}"
            )
        self._begin_density()
        if self.fit is None:
            self.density.load_state_dict(tensors["density"])
        else:
            self.fit.restore(tensors, state)
