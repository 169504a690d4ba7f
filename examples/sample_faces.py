"""New faces, a line between two, and how usual some pictures are, from a trained run.

python -m rlgen.train model=latent_density data=FACES size=64 model.dim=64 run_dir=runs/faces
python examples/sample_faces.py runs/faces
"""

import sys

import torch

from rlgen.generative.latent_density import load_latent_pipeline
from rlgen.generative.latent_density.pictures import interpolation_row, sample_rows, table


def main(run: str, count: int = 32) -> None:
    pipeline = load_latent_pipeline(run)  # or LatentDensityPipeline.from_pretrained(...)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

    # One generator for each image: number k is the same whatever else is drawn.
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
    faces = pipeline.sample(count, generator=generators)
    rows = [*sample_rows(faces), interpolation_row(pipeline, faces[0], faces[1], steps=8)]
    table(rows).save("faces.png")

    scores = pipeline.log_prob(faces)  # of the latents, nats
    usual = int(scores.argmax())
    faces[usual].save("most-usual.png")
    print(f"the most usual of {count}: number {usual}, log p {float(scores[usual]):.1f} nats")

    # Its first half of coordinates, eight times with another second half.
    keep = pipeline.codec.dim // 2
    others = pipeline.complete([faces[usual]] * 8, keep, generator=generators[:8])
    table(sample_rows(others)).save("completed.png")


if __name__ == "__main__":
    main(sys.argv[1])
