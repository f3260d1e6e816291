"""Register: GTO tags with trailers."""
