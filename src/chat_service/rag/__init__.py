"""Retrieval: documents become chunks, a question finds the passages that answer it."""
