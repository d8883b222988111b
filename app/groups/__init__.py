"""The door of the data plane: route table to group, swapped whole."""
