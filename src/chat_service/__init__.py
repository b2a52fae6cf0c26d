"""A chat service on durable sessions: ``uvicorn --factory chat_service.main:create_app``."""
