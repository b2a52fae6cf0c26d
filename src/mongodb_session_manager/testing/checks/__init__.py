"""The checks, a module for each capability. Every public function of these modules is one."""

__all__: list[str] = []
