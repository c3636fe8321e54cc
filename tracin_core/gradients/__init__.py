"""Per-example gradients: rules for layers, hooks, the plan, the fallback."""
