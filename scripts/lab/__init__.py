"""The lab: a client, a router, a Linimo node and nginx backends, each in a network namespace of its own.

    from lab.lab import Lab
    with Lab("linimo") as lab:
        lab.build()
        lab.start_node()

Python's standard library only, so that the demo needs nothing that Debian does not install anyway.
"""
