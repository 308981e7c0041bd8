"""Measures restorations: metrics, pairs of pictures, comparisons."""
