"""Who may use the service, whose a session is, and how much anybody may ask. See ``docs/security.md``."""
