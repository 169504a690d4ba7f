"""3D design as an environment: an agent builds a solid by CAD-like actions until a task is met."""
