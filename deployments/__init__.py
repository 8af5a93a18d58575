"""Floor 3: Ray Serve classes, wiring only; mathematics, SQL and HTTP stay testable without Ray."""
