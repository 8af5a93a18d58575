"""Decides in Serve's controller how many replicas a deployment should have, so that they follow load without swinging.

What calls for one more lies well above what lets one go.
"""

import math
from typing import Any, cast

from ray.serve.config import AutoscalingConfig, AutoscalingContext

# Of the target, what the replicas that remain may hold when one goes. Requests in hand grow faster than their rate, up
# to its square near full work; half is the most at which no rate lies both below the one bound and above the other.
# Source: the simulation of tests/service/test_scaling.py over steps, waves and bursts.
LOW = 0.5


def steady(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Return the replicas wanted; Ray applies the delays and bounds of `serve_config.yaml` after it.

    Up to what the target asks, at most double, and not while replicas are still starting: what has gathered by then
    says how late they are, and not how many are needed. Down one at a time.
    """
    held, ongoing = context.target_num_replicas, context.total_num_requests
    target = cast(AutoscalingConfig, context.config).get_target_ongoing_requests()
    if ongoing > target * held and context.current_num_replicas >= held:
        return min(math.ceil(ongoing / target), 2 * held), {}
    if held > 1 and ongoing <= LOW * target * (held - 1):
        return held - 1, {}
    return held, {}
