"""Parts that know nothing of RL or images: names, runs, checkpoints, devices, statistics."""
