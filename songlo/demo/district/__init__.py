"""The district demo: a power company's two billing periods, from batches to the bills' files.

It plays gateways, clerks and the months; everything that the product does is asked of the product.
"""
