"""What a run shows of itself: curves, sheet, report.html, TensorBoard."""
