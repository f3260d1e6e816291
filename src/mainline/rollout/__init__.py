"""Roll out: Envoy, guard and judge on one machine."""
