"""What is wanted: targets, scores, ready-made tasks, goals, experts."""
