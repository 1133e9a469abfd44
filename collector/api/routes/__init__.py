"""The routes under /v1, one module a subject; each calls one operation and shapes its answer.

They must not compute: what is asked twice belongs into `collector.operations`.
"""
