"""Measurements of the running system, each beside the limit that the machine sets in the same run.

One module per figure. They start real programs; they are no part of the product.
"""
