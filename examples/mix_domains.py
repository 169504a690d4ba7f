"""A photo in mixtures of domains, with the model that comes with rlgen.

python examples/mix_domains.py photo.jpg
"""

import sys

import torch
from PIL import Image

from rlgen.generate import SHIPPED
from rlgen.generative.sgn import load_pipeline


def main(path: str) -> None:
    pipeline = load_pipeline(SHIPPED)  # or a run folder, or SGNPipeline.from_pretrained(...)
    pipeline.to("cuda" if torch.cuda.is_available() else "cpu")
    print("domains:", ", ".join(pipeline.domains))

    photo = Image.open(path)
    mixes = [
        {"photo": 1.0},
        {"vangogh": 0.5, "photo": 0.5},
        {"vangogh": 0.3, "monet": 0.2, "photo": 0.5},
        {"ukiyoe": 1.0},
    ]
    images = pipeline(photo, mixes).images  # all mixes of the photo, in its own size
    for number, image in enumerate(images):
        image.save(f"mix-{number}.png")

    # Beyond the simplex: more of a style than training ever showed.
    pipeline(photo, {"vangogh": 1.5}, extrapolate=True).images[0].save("mix-beyond.png")


if __name__ == "__main__":
    main(sys.argv[1])
