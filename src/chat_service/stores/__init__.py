"""Session stores of the service beside the library's own: PostgreSQL."""
