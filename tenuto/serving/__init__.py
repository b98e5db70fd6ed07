"""Serving: an exported model, ready to answer, without torch, transformers or any orchestration.

`hearing` turns waves into answers, and is what export and monitoring share with the server; `endpoints` and `streaming`
are what can be asked of it, `guarding` by whom and how much. `app` puts them together around one `state`; `recorder`
writes the log.
"""
