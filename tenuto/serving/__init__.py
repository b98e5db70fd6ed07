"""Serving: an exported model, ready to answer, without torch, transformers or any orchestration.

`bundle` is what the export stage leaves and a server needs; `classifier` listens with it; the rest is the server.
"""
