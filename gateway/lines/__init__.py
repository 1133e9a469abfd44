"""Lines: one owner task each, that queues, paces and retries requests to the meters on it.

It must not know of slots, scans, stations or delivery.
"""
