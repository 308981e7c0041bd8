"""The Gradio page that app.py serves: what a request does, and what a visitor sees."""
