"""The settings that decide who may do what."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Literal

from limits import parse_many
from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from .api_keys import ApiKey, is_owner, parse
from .hosts import host_name
from .origins import cors_options, origin, origin_of_host
from .rate_limits import check_storage

__all__ = ["Environment", "SecuritySettings", "is_loopback"]

Environment = Literal["development", "staging", "production"]
Several = Annotated[tuple[str, ...], NoDecode]

_NEW_KEY = "Take the entry that `python -m chat_service key <owner>` prints"


class SecuritySettings(BaseSettings):
    """A part of :class:`~chat_service.config.Settings`, whose rules for descriptions and errors it follows."""

    environment: Environment = Field("development", description="Set it to development, staging or production.")
    host: str = Field("127.0.0.1", description="Set it to the address to listen on, for example 127.0.0.1.")

    api_keys: SecretStr | None = Field(
        None,
        description="Take the entries that `python -m chat_service key <owner>` prints, with commas between them.",
    )
    operators: Several = Field((), description="Set it to owners of keys, with commas between them.")
    debug_routes: bool | None = Field(None, description="Set it to true or false; production takes only false.")
    allowed_hosts: Several = Field(
        (),
        description="Set it to names of hosts such as chat.example.com or *.example.com, with commas between them.",
    )
    cors_origins: Several = Field(
        (),
        validation_alias=AliasChoices("cors_origins", "allowed_origins"),
        description="Set it, or ALLOWED_ORIGINS, to origins such as https://example.com, with commas between them.",
    )
    vercel_url: str | None = Field(None, description="Set it to the name of a host, such as example.vercel.app.")
    custom_domain: str | None = Field(None, description="Set it to the name of a host, such as chat.example.com.")
    rate_limit: str | None = Field(None, description="Set it to a rate such as 60/minute, or to off.")
    rate_limit_storage: SecretStr = Field(
        SecretStr("memory://"), description="Set it to memory://, redis://… or mongodb://…."
    )
    failed_key_limit: str = Field("20/minute", description="Set it to a rate such as 20/minute.")
    forwarded_allow_ips: Several = Field(
        (), description="Set it to the addresses or networks of your own proxies, with commas between them."
    )
    max_concurrent_turns: int = Field(200, ge=1, description="Set it to the answers to write at once, for example 200.")
    max_queued_turns: int = Field(100, ge=0, description="Set it to the questions that may wait, for example 100.")
    queue_seconds: float = Field(5.0, ge=0, le=60, description="Set it to the seconds that a question may wait.")
    hsts_seconds: int = Field(0, ge=0, description="Set it to the seconds browsers shall insist on HTTPS, or to 0.")

    @field_validator("allowed_hosts", "operators", "cors_origins", "forwarded_allow_ips", mode="before")
    @classmethod
    def _at_commas(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            parse(value.get_secret_value())
        return value

    @field_validator("operators")
    @classmethod
    def _are_owners(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_owner, value)):
            raise ValueError("one of these is not the name of an owner")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(host_name, value))

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(origin, value))

    @field_validator("vercel_url", "custom_domain")
    @classmethod
    def _is_a_host(cls, value: str | None) -> str | None:
        return value and origin_of_host(value)

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            if network == "*":
                raise ValueError("* would let every client say what its address is")
            try:
                ip_network(network, strict=False)
            except ValueError:
                raise ValueError("one of these is no address and no network") from None
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate_or_off(cls, value: str | None) -> str | None:
        if value and value.lower() != "off":
            _check_rate(value)
        return value

    @field_validator("failed_key_limit")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        _check_rate(value)
        return value

    @field_validator("rate_limit_storage")
    @classmethod
    def _is_a_storage(cls, value: SecretStr) -> SecretStr:
        check_storage(value.get_secret_value())
        return value

    @property
    def keys(self) -> tuple[ApiKey, ...]:
        """The keys that are accepted; none: nobody is asked for one."""
        return parse(self.api_keys.get_secret_value()) if self.api_keys else ()

    @property
    def hosts(self) -> tuple[str, ...] | None:
        """Names under which the service answers besides its own; ``None``: under any."""
        return None if self.keys and not self.allowed_hosts else self.allowed_hosts

    @property
    def rate(self) -> str | None:
        """How often a caller may ask. Where nothing is set, development has no limit."""
        rate = self.rate_limit or ("off" if self.environment == "development" else "60/minute")
        return None if rate.lower() == "off" else rate

    @property
    def has_debug_routes(self) -> bool:
        """Whether there are debugging routes."""
        return self.environment == "development" if self.debug_routes is None else self.debug_routes

    @property
    def cors(self) -> dict[str, Any]:
        """Which pages of other origins are let in."""
        hosts = (self.vercel_url, self.custom_domain) if self.environment == "production" else ()
        origins = (*self.cors_origins, *filter(None, hosts))
        return cors_options(origins, local=self.environment == "development" and not self.cors_origins)

    def check_safe(self) -> None:
        """Find what must not be.

        Raises:
            ValueError: Names the variable and the remedy.
        """
        if self.environment == "production" and not self.keys:
            raise ValueError(f"API_KEYS: missing. Production asks everybody for a key. {_NEW_KEY}")
        if self.environment == "production" and self.debug_routes:
            raise ValueError("DEBUG_ROUTES: open in production. Remove it or set it to false")
        if self.environment != "development" and not self.keys and not is_loopback(self.host):
            raise ValueError(
                f"API_KEYS: missing, and HOST={self.host} lets others in. {_NEW_KEY}, or set HOST to 127.0.0.1"
            )


def _check_rate(value: str) -> None:
    try:
        parse_many(value)
    except ValueError:
        raise ValueError("this is no rate") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a service that listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
