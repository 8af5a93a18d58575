"""Layers around all routes: `request` outermost, then `fast_path`; `ray_proxy` stands around Ray's own HTTP layer."""
