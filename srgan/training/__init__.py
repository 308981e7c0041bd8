"""Training: settings, losses, discriminators, steps, saved state."""
