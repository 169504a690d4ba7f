"""Two vision transformers in Hugging Face's Trainer, which needs one method.

pip install transformers; python examples/distill_transformers.py
"""

from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from rlgen.distill import Distiller


def vit(width: int, depth: int) -> ViTForImageClassification:
    """Stands for ``ViTForImageClassification.from_pretrained(...)``; needs no download."""
    config = ViTConfig(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=4, num_labels=10,
        intermediate_size=2 * width, image_size=16, patch_size=4, num_channels=1,
    )  # fmt: skip
    return ViTForImageClassification(config)


class Pictures(Dataset):
    """Ten prototypes under noise."""

    def __init__(self, count: int, seed: int) -> None:
        self.prototypes = torch.randn(10, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        self.noise = torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed))

    def __len__(self) -> int:
        return len(self.noise)

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = self.prototypes[index % 10] + 1.5 * self.noise[index]
        return {"pixel_values": pixels, "labels": index % 10}


class DistillTrainer(Trainer):
    """Trains a :class:`Distiller`; evaluation and prediction see its student alone."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Returns the distiller's objective in training, the student's own loss otherwise."""
        if not model.training:
            outputs = self.accelerator.unwrap_model(model).student(**inputs)
            return (outputs.loss, outputs) if return_outputs else outputs.loss
        loss, parts = model(inputs)
        return (loss, parts) if return_outputs else loss


def main(folder: str = "distill_transformers", steps: int = 200) -> float:
    torch.manual_seed(0)
    train, test = Pictures(2000, seed=1), Pictures(500, seed=2)
    arguments = TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=64, learning_rate=2e-3,
        remove_unused_columns=False, label_names=["labels"], save_strategy="no", report_to=[],
        seed=0,
    )  # fmt: skip
    teacher, student = vit(width=64, depth=3), vit(width=32, depth=2)
    Trainer(teacher, arguments, train_dataset=train).train()

    distiller = Distiller(
        student,
        teacher,
        losses={"kd": 1.0, "fitnets": 1.0},
        # Tokens (B, T, C) between the encoder and the head.
        taps={"fitnets": ["vit.layernorm"]},
        example=torch.utils.data.default_collate([train[0], train[1]]),
    )
    trainer = DistillTrainer(distiller, arguments, train_dataset=train)
    trainer.train()

    predictions = trainer.predict(test)
    accuracy = float((predictions.predictions.argmax(1) == predictions.label_ids).mean())
    student.save_pretrained(folder)  # a plain ViT: no connector, no hook
    print(f"student {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
