"""python -m srgan: one module for each command."""
