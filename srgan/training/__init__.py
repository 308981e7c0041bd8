"""A training run: settings, losses, networks that judge, steps, state."""
