"""Training SGN: one generator for the whole simplex of its domains' losses.

Paper: Chang, Park, Yang, Kwak, ICCV 2019. The iteration is that of the official code for its
Model 1 (seen); several adversarial domains, each with its own discriminator and history, are the
direct generalisation (reconstructed). Ours: bf16, averaged weights (none in the paper), and that
everything random in step k is drawn from generators made of (seed, k), so that a resumed run goes
on exactly.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel

from rlgen.core.errors import UserError
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.data import Batches, open_images
from rlgen.generative.registry import MODELS, Tensors
from rlgen.generative.sgn.domains import (
    CONTENT_LAYER,
    Context,
    DomainLoss,
    Perception,
    View,
    build_domains,
    load_size,
    mixed_loss,
)
from rlgen.generative.sgn.generator import SGNGenerator
from rlgen.generative.sgn.mix import simplex_points
from rlgen.generative.sgn.pipeline import SGNPipeline
from rlgen.generative.sgn.sampling import sample_sym
from rlgen.generative.sgn.sheet import draw_sheet

SHEET_PHOTOS = 4
_RANDOM = 7  # stream of the numbers drawn in a step, beside the streams of the images


@MODELS.register("sgn")
class SGNTrainer:
    """Trains a generator and the discriminators of its domains.

    Args:
        config: As the train command composes it.
        accelerator: Device, precision and peers.

    Raises:
        UserError: If an option, a folder or a file is wrong.
    """

    def __init__(self, config: dict[str, Any], accelerator: Accelerator) -> None:
        self.config = config
        self.accelerator = accelerator
        options = config["model"]
        torch.manual_seed(config["seed"])
        context = Context(config["size"], config["perceptual"])
        self.domains = build_domains(config["domains"], context)
        self.features = None
        if any(loss.wants_features for losses in self.domains.values() for loss in losses):
            self.features = context.features
        self.generator = SGNGenerator(
            domains=list(self.domains),
            **{name: options[name] for name in ("width", "n_blocks", "reduction")},
        )
        self._read_images()
        self._move()
        self._make_optimizers(options)
        self.ema: EMAModel | None = None
        if options["ema_decay"]:
            self.ema = EMAModel(
                self.generator.parameters(), decay=options["ema_decay"], use_ema_warmup=True
            )

    def _read_images(self) -> None:
        config, peers = self.config, self.accelerator
        photos = open_images(config["data"]["photos"], load_size(config["size"]))
        shared: dict[str, Any] = {
            "flip": config["data"]["flip"],
            "rank": peers.process_index,
            "world": peers.num_processes,
        }
        size, count, seed = config["size"], config["batch_size"], config["seed"]
        self.photos = Batches(photos, count, size, seed, stream=0, **shared)
        self.real: dict[tuple[str, int], Batches] = {}
        for number, (key, loss) in enumerate(self._losses().items(), start=1):
            if loss.images is not None:
                self.real[key] = Batches(loss.images, count, size, seed, stream=number, **shared)
        self._sheet = torch.cat(
            [
                Batches(photos, 1, size, seed, stream=0, flip=False).at(k)
                for k in range(min(SHEET_PHOTOS, len(photos)))
            ]
        )

    def _losses(self) -> dict[tuple[str, int], DomainLoss]:
        """Returns every loss by (domain, position in the domain)."""
        return {
            (name, k): loss
            for name, losses in self.domains.items()
            for k, loss in enumerate(losses)
        }

    def _move(self) -> None:
        networks: list[Any] = [self.generator, *self._losses().values()]
        for network in networks + ([self.features] if self.features is not None else []):
            # Channels last is what convolutions on the CPU and on tensor cores want.
            network.to(device=self.accelerator.device, memory_format=torch.channels_last)

    def _make_optimizers(self, options: dict[str, Any]) -> None:
        betas = (options["beta1"], options["beta2"])
        prepare = self.accelerator.prepare

        def adam(network: torch.nn.Module) -> torch.optim.Adam:
            rate = options["learning_rate"]
            return torch.optim.Adam(network.parameters(), rate, betas, fused=True)

        self.optimizer = adam(self.generator)
        self.wrapped = prepare(self.generator)
        self.discriminators: dict[tuple[str, int], torch.nn.Module] = {}
        self.discriminator_optimizers: dict[tuple[str, int], torch.optim.Adam] = {}
        for key, loss in self._losses().items():
            if loss.discriminator is not None:
                self.discriminator_optimizers[key] = adam(loss.discriminator)
                self.discriminators[key] = prepare(loss.discriminator)

    def learning_rate(self, step: int) -> float:
        """Returns the learning rate of a step: constant, then linear to 0 at the end."""
        options = self.config["model"]
        progress, begin = step / self.config["total_steps"], options["decay_from"]
        falling = 1.0 if progress <= begin else (1 - progress) / max(1 - begin, 1e-9)
        return float(options["learning_rate"] * max(falling, 0.0))

    def train_step(self, step: int) -> dict[str, torch.Tensor]:
        """One step of the generator and one of each discriminator; spec section b, 1 to 7.

        Args:
            step: Number of the step, from 0.

        Returns:
            Mean terms by name; ``loss/generator`` is the objective.
        """
        config, device = self.config, self.accelerator.device
        rank = self.accelerator.process_index
        random = np.random.default_rng([config["seed"], _RANDOM, step, rank])
        for optimizer in (self.optimizer, *self.discriminator_optimizers.values()):
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate(step)
                group["betas"] = (config["model"]["beta1"], config["model"]["beta2"])

        # 1. Photos x, real images y of each domain, and s for every photo.
        x = self._to_device(self.photos.at(step))
        real = {key: self._to_device(images.at(step)) for key, images in self.real.items()}
        sym = sample_sym(random, len(x), len(self.domains), config["model"]["alpha"]).to(device)

        # 2. o = G(x, s), and G(y, s) for the identity terms, in one pass.
        with self.accelerator.autocast():
            inputs = torch.cat([x, *real.values()])
            o, *identities = self.wrapped(inputs, sym.repeat(1 + len(real), 1)).split(len(x))
        identity = dict(zip(real, identities, strict=True))

        # 3. and 4. The generator's step on the mixed loss.
        terms: dict[str, torch.Tensor] = {}
        with self.accelerator.autocast():
            losses = self._domain_losses(x, o, real, identity, sym, terms)
        loss = mixed_loss(losses, sym)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.optimizer.step()
        if self.ema is not None:
            self.ema.step(self.generator.parameters())
        terms["loss/generator"] = loss

        # 5. and 6. The discriminators' steps, on images out of their histories.
        for key, discriminator in self.discriminators.items():
            view = View(source=x, output=o.detach(), real=real.get(key))
            name, number = key
            coordinate = list(self.domains).index(name)
            with self.accelerator.autocast():
                loss = self._losses()[key].discriminator_loss(
                    discriminator, view, sym, coordinate, random
                )
            optimizer = self.discriminator_optimizers[key]
            optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            optimizer.step()
            label = f"loss/discriminator_{name}"
            terms[f"{label}_{number}" if label in terms else label] = loss
        return {name: term.detach() for name, term in terms.items()}

    def _domain_losses(
        self,
        x: torch.Tensor,
        o: torch.Tensor,
        real: dict[tuple[str, int], torch.Tensor],
        identity: dict[tuple[str, int], torch.Tensor],
        sym: torch.Tensor,
        terms: dict[str, torch.Tensor],
    ) -> list[torch.Tensor]:
        """Returns L_k per image, (B,) for each domain.

        Adds to ``terms`` the mean of every term, weighted by d s_k, whose mean is 1: a domain's
        losses tell little of images that are hardly meant to be in it.
        """
        of_x, of_o = None, None
        if self.features is not None:
            with torch.no_grad():
                of_x = Perception(self.features(x, upto=CONTENT_LAYER))
            of_o = Perception(self.features(o))
        totals = []
        for coordinate, (name, losses) in enumerate(self.domains.items()):
            total = torch.zeros(len(x), device=x.device)
            share = len(self.domains) * sym[:, coordinate]
            for number, loss in enumerate(losses):
                key = (name, number)
                view = View(x, o, real.get(key), identity.get(key), of_x, of_o)
                with _frozen(loss.discriminator):
                    parts = loss(view)
                for part, value in parts.items():
                    label = f"{name}/{part}"
                    terms[f"{label}_{number}" if label in terms else label] = (share * value).mean()
                    total = total + value
            totals.append(total)
        return totals

    def _to_device(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(self.accelerator.device, memory_format=torch.channels_last)

    def averaged_generator(self) -> SGNGenerator:
        """Returns a copy of the generator with the averaged weights, where they are kept."""
        copy = SGNGenerator.from_config(self.generator.config)
        copy.load_state_dict(self.generator.state_dict())
        if self.ema is not None:
            self.ema.copy_to(copy.parameters())
        return copy.to(self.accelerator.device).eval()

    def draw_samples(self, path: Path) -> None:
        """Draws the sheet: rows of photos, columns of points of the simplex."""
        generator = self.averaged_generator()
        points = simplex_points(len(self.domains))
        draw_sheet(generator, self._sheet.to(self.accelerator.device), points, path)

    def export(self, folder: Path) -> None:
        """Saves the averaged generator as a pipeline."""
        SGNPipeline(self.averaged_generator().cpu()).save_pretrained(folder)

    def title(self) -> str:
        """Returns what the card's title says beside the model's name."""
        return ", ".join(self.domains)

    def usage(self, folder: Path) -> str:
        """Returns a command that uses the finished run."""
        return f"python -m rlgen.generate model={folder} image=PHOTO mix=..."

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""
        count = sum(p.numel() for p in self.generator.parameters())
        photos = self.config["data"]["photos"]
        lines = [f"generator of {count:,} parameters; photos: {photos} ({len(self.photos.images)})"]
        for name, entry in self.config["domains"].items():
            lines.append(f"domain {name}: {entry}")
        return lines

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns all that training changes."""
        moments, groups = optimizer_state(self.optimizer)
        tensors: Tensors = {"generator": dict(self.generator.state_dict()), "optimizer": moments}
        state: dict[str, Any] = {
            "domains": list(self.domains),
            "size": self.config["size"],
            "optimizer": groups,
        }
        if self.ema is not None:
            names = [name for name, _ in self.generator.named_parameters()]
            tensors["ema"] = dict(zip(names, self.ema.shadow_params, strict=True))
            state["ema_steps"] = self.ema.optimization_step
        for key, loss in self._losses().items():
            if loss.discriminator is None:
                continue
            file = f"discriminator-{list(self.domains).index(key[0])}-{key[1]}"
            moments, groups = optimizer_state(self.discriminator_optimizers[key])
            tensors[file] = dict(loss.discriminator.state_dict())
            tensors[f"{file}-optimizer"] = moments
            state[file] = groups
            history = getattr(loss, "history", None)
            if history is not None:
                tensors[f"{file}-history"] = history.state()
        return tensors, state

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            UserError: If it is of other domains or of networks of another shape.
        """
        if state["size"] != self.config["size"]:
            raise UserError(
                f"the run's photos have size={state['size']}; it cannot go on with "
                f"size={self.config['size']}"
            )
        if state["domains"] != list(self.domains):
            raise UserError(
                f"the checkpoint has the domains {', '.join(state['domains'])}, the configuration "
                f"{', '.join(self.domains)}; names and order must stay when a run goes on"
            )
        try:
            self.generator.load_state_dict(tensors["generator"])
            restore_optimizer(self.optimizer, tensors["optimizer"], state["optimizer"])
            for key, loss in self._losses().items():
                if loss.discriminator is None:
                    continue
                file = f"discriminator-{list(self.domains).index(key[0])}-{key[1]}"
                loss.discriminator.load_state_dict(tensors[file])
                optimizer = self.discriminator_optimizers[key]
                restore_optimizer(optimizer, tensors[f"{file}-optimizer"], state[file])
                if f"{file}-history" in tensors:
                    loss.history.restore(  # type: ignore[union-attr, operator]
                        tensors[f"{file}-history"], self.accelerator.device
                    )
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).split("\n")[-1].strip()
            raise UserError(f"the checkpoint does not fit the model: {reason}") from None
        if self.ema is not None and "ema" in tensors:
            device = self.accelerator.device
            names = [name for name, _ in self.generator.named_parameters()]
            self.ema.shadow_params = [tensors["ema"][name].to(device) for name in names]
            self.ema.optimization_step = state["ema_steps"]


class _frozen:
    """Inside the block a network's parameters take no gradient; None is allowed."""

    def __init__(self, network: torch.nn.Module | None) -> None:
        self.parameters = [] if network is None else list(network.parameters())

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *_: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)
