"""Your own room: what turns a row into inputs of the model, and which model it is."""
