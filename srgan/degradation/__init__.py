"""Worn small copies: blur, noise and JPEG as real pictures have them."""
