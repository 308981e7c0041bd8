"""Picture files and tensors: read, write, colours, sizes."""
