"""What a replica of Ray Serve needs at run time and no part of the graph is: addresses, cancellation, scaling, HAProxy.

Works with Ray alone.
"""
