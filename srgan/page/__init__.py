"""The Gradio page that app.py serves: what a request does, and what a visitor sees."""

from srgan.page import proxies  # noqa: F401 - before any module here imports Gradio
