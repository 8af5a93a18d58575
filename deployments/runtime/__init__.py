"""What replicas of Ray Serve need at run time beside the graph: addresses, cancellation, scaling, HAProxy."""
