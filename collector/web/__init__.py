"""What the API and the console share: the context of a request, problems, parameters, guards.

It must not know a route or a page; it is the floor that both stand on.
"""
