"""Pictures of designs, drawn in NumPy."""
