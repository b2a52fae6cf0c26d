"""Markdown as safe HTML: whole answers, and answers that are still being written."""
