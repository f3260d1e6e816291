"""Check the data: schema, table, split, additions."""
