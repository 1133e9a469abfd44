"""Who is on a line, at which settings and of which model: for whoever commissions a station.

Asks and concludes for people at the command line. It must not know stations, slots or batches.
"""
