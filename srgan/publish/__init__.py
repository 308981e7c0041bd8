"""The Hugging Face Hub: model card, push, Space."""
