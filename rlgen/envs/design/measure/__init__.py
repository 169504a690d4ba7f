"""What a mesh is worth: deterministic evaluators, and the metrics made of them."""
