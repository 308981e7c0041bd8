"""Degraded small copies: blur, noise and JPEG as in real pictures."""
