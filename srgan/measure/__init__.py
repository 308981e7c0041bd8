"""How good a restoration is: metrics, pairs of pictures, comparisons."""
