"""The gateway: polls the meters of one station, keeps what it read and delivers it.

Runs on a small computer at the station. It knows the collector only through `contract`.
"""
