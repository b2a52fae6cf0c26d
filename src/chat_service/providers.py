"""Where answers come from: one provider for each kind of server, chosen by ``MODEL_PROVIDER``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import httpx
from strands.models import Model

from .config import ConfigurationError, Settings
from .demo_model import DemoModel
from .model_options import ModelOptions

__all__ = ["Provider", "make_provider", "prepare_loop"]


Provider = Callable[[ModelOptions], Model]
"""Makes the model for one answer. What the options leave open is as the settings say. No I/O."""

# What is needed besides the extra `service`: the package, and the extra that brings it.
_PACKAGES = {
    "openai": ("openai", "service"),
    "anthropic": ("anthropic", "anthropic"),
    "ollama": ("ollama", "ollama"),
    "bedrock": ("boto3", "service"),
}


def make_provider(settings: Settings) -> Provider:
    """Prepare what all answers share.

    Args:
        settings: ``model_provider`` and what belongs to it.

    Raises:
        ConfigurationError: The provider needs a package that is not installed, or a setting that is not there.
    """
    name = settings.model_provider
    if name == "demo":
        return lambda options: DemoModel(settings.demo_delay)
    package, extra = _PACKAGES[name]
    if not find_spec(package):
        raise ConfigurationError(
            f"MODEL_PROVIDER: {name} needs the package {package}. "
            f"Install mongodb-session-manager[{extra}], or set it to demo."
        )
    return _served(settings)


def prepare_loop(settings: Settings) -> None:
    """Give the running event loop what the provider needs of it.

    Args:
        settings: ``model_provider``.
    """
    if settings.model_provider == "bedrock":
        from .bedrock_model import Threads

        asyncio.get_running_loop().set_default_executor(Threads())


def _served(settings: Settings) -> Provider:
    # Imported here: each of the packages behind these is large, and at most one is needed.
    if settings.model_provider == "bedrock":
        from .bedrock_model import BedrockModels

        return BedrockModels(settings)
    if settings.model_provider == "anthropic":
        from .anthropic_model import model as anthropic_model

        return partial(anthropic_model, settings, httpx.create_ssl_context())
    if settings.model_provider == "ollama":
        from .ollama_model import model as ollama_model

        return partial(ollama_model, settings, httpx.create_ssl_context())
    from .openai_model import model as openai_model

    return partial(openai_model, settings, httpx.create_ssl_context())
