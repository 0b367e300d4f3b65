"""Scenarios with whole workers, as users live through them."""
