"""Training photos: folders, zips, windows of large photos, streams."""
