"""What is trained on: folders, zips, windows of large photos, streams."""
