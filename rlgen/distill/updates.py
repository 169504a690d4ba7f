"""The optimisers of a distiller, and one step of them.

Most methods are one backward pass of the weighted sum and SGD with Nesterov's momentum over the
distiller's parameter groups (specs kd_baselines, ofd, ffl: seen); super-resolution takes Adam
(spec lsfd, section d). AFD has three optimisers (spec
afd, sections b and f): SGD along cross-entropy and KL, Adam along L_G for the networks and transfer
layers, Adam along L_D for the discriminators; all gradients are taken from one forward pass before
the first step, as the spec recommends. Adam's rate falls with SGD's (reconstructed).

Where several processes train together, each averages its gradients over them before a step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.distill.base import DistillLoss
from rlgen.distill.distiller import Distiller
from rlgen.distill.losses.afd import ADAM, AFD, separate_steps

Batch = tuple[Tensor, Tensor]
Objective = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}


class Updates(ABC):
    """Optimisers by name, and how a batch moves them.

    Args:
        distiller: What is trained; nothing may be frozen or added later.
        accelerator: Precision, and the processes that train together.
    """

    def __init__(self, distiller: Distiller, accelerator: Accelerator) -> None:
        self.distiller = distiller
        self.accelerator = accelerator
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._rates: dict[str, list[float]] = {}

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Takes one step and returns the terms by name; ``loss`` is the objective.

        Args:
            batch: Pictures (B, C, H, W) and classes (B,), on the device.
        """

    def enter(self, name: str, optimizer: torch.optim.Optimizer) -> None:
        """Takes an optimiser in, with moments from the start.

        Args:
            name: In checkpoints.
            optimizer: SGD or Adam; its rates are those of factor 1.
        """
        _start_moments(optimizer)
        if self.accelerator.num_processes > 1:
            optimizer.register_step_pre_hook(self._average)
        self.optimizers[name] = optimizer
        self._rates[name] = [group["lr"] for group in optimizer.param_groups]

    def scale_rates(self, factor: float) -> None:
        """Sets every learning rate to its first value times a factor."""
        for name, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self._rates[name], strict=True):
                group["lr"] = rate * factor

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Returns moments and settings by optimiser."""
        both = {name: optimizer_state(optimizer) for name, optimizer in self.optimizers.items()}
        return {name: b[0] for name, b in both.items()}, {name: b[1] for name, b in both.items()}

    def restore(
        self, moments: Mapping[str, dict[str, Tensor]], settings: Mapping[str, Any]
    ) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            KeyError: If an optimiser is missing.
            ValueError: If one is of other parameters.
        """
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, moments[name], settings[name])

    def _average(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = self.accelerator.reduce(torch.cat([g.reshape(-1) for g in gradients]), "mean")
        for grad, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            grad.copy_(mean.view(grad.shape))


class JointUpdates(Updates):
    """One backward pass and one optimiser over the distiller's parameter groups.

    Args:
        distiller: See :class:`Updates`.
        accelerator: See there.
        objective: Gives the scalar to minimise and its terms; None: the distiller does.
        optimizer: A name in ``OPTIMIZERS``.
        **options: Of the optimiser.
    """

    def __init__(
        self,
        distiller: Distiller,
        accelerator: Accelerator,
        objective: Objective | None = None,
        optimizer: str = "sgd",
        **options: Any,
    ) -> None:
        super().__init__(distiller, accelerator)
        self.objective: Objective = objective or distiller
        self.optimizer = optimizer
        make = OPTIMIZERS[optimizer]
        self.enter(optimizer, make(distiller.parameter_groups(), fused=True, **options))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Takes one step; see :meth:`Updates.step`."""
        with self.accelerator.autocast():
            loss, parts = self.objective(batch)
        optimizer = self.optimizers[self.optimizer]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        optimizer.step()
        return {"loss": loss.detach(), **{f"loss/{name}": part for name, part in parts.items()}}


class AdversarialUpdates(Updates):
    """AFD's three optimisers.

    Args:
        distiller: Of peers, with AFD alone.
        accelerator: See :class:`Updates`.
        **options: Of SGD.
    """

    def __init__(self, distiller: Distiller, accelerator: Accelerator, **options: Any) -> None:
        super().__init__(distiller, accelerator)
        loss = distiller.losses["afd"]
        assert isinstance(loss, AFD)
        self.loss = loss
        networks = _unique(p for network in distiller.networks for p in network.parameters())
        # L_G reaches no classifier: Adam sees no gradient there and leaves it alone.
        features = _unique([*networks, *loss.transfers.parameters()])
        judges = list(loss.own_parameters())
        adam: dict[str, Any] = {"fused": True, **ADAM}
        self.enter("logit", torch.optim.SGD(networks, fused=True, **options))
        self.enter("generator", torch.optim.Adam(features, **adam))
        self.enter("discriminator", torch.optim.Adam(judges, **adam))

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Takes one step of each optimiser; see :meth:`Updates.step`."""
        distiller, loss = self.distiller, self.loss
        weight = distiller.weights["afd"]
        with self.accelerator.autocast():
            seen = distiller.observe(batch)
            terms = loss.terms(distiller.features("afd", seen))
            tasks = [
                distiller.task(s.logits, batch[1]) for s in seen.networks if s.logits is not None
            ]
            task = torch.stack(tasks).sum()
        logit = distiller.task_weight * task + weight * loss.kl * terms.logit
        pairs = [
            (logit, self.optimizers["logit"]),
            (weight * terms.discriminator, self.optimizers["discriminator"]),
        ]
        if loss.adversarial:  # else the gradients are 0, and Adam would only decay the weights
            generator = weight * loss.adversarial * terms.generator
            pairs.append((generator, self.optimizers["generator"]))
        separate_steps(pairs)
        named = {f"loss/afd_{name}": term for name, term in terms._asdict().items()}
        both = {"loss": logit, "loss/task": task, **named}
        return {name: term.detach() for name, term in both.items()}


def make_updates(
    distiller: Distiller,
    accelerator: Accelerator,
    objective: Objective | None = None,
    optimizer: str = "sgd",
    **options: Any,
) -> Updates:
    """Returns the updates that the distiller's losses want.

    Args:
        distiller: What is trained.
        accelerator: Precision and peers.
        objective: Gives the scalar to minimise and its terms; None: the distiller does.
        optimizer: A name in ``OPTIMIZERS``.
        **options: Of the optimiser.

    Raises:
        UserError: If AFD is beside another loss or has another optimiser than SGD.
    """
    losses = [distiller.losses[name] for name in distiller.weights]
    if not any(isinstance(loss, AFD) for loss in losses):
        return JointUpdates(distiller, accelerator, objective, optimizer, **options)
    if optimizer != "sgd":
        raise UserError(f"afd has SGD and two Adams of its own; leave out optimizer={optimizer}")
    if len(losses) > 1:
        raise UserError("afd has optimisers of its own and is trained alone; leave out the others")
    return AdversarialUpdates(distiller, accelerator, **options)


def needs_preparation(distiller: Distiller) -> bool:
    """Tells whether a loss learns from the teachers before training."""
    classes = [type(distiller.losses[name]) for name in distiller.weights]
    return any(
        issubclass(loss, DistillLoss) and loss.prepare is not DistillLoss.prepare
        for loss in classes
    )


def _unique(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Returns trainable parameters once each, though peers may share them."""
    return [p for p in dict.fromkeys(parameters) if p.requires_grad]


def _start_moments(optimizer: torch.optim.Optimizer) -> None:
    """Gives every parameter moments of 0, which is what an optimiser starts from.

    Without them a parameter that gets no gradient has none to save, and checkpoints would be of
    other parameters than the optimiser.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            if isinstance(optimizer, torch.optim.Adam):
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
            elif group["momentum"]:
                state["momentum_buffer"] = torch.zeros_like(parameter)
