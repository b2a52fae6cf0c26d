"""The routes, one module for each kind of thing. They raise; nobody here builds an error."""
