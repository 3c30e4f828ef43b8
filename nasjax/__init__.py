"""nasjax: differentiable and zero-order neural architecture search in JAX.

>>> from nasjax import hypergrad, run
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasjax.core.errors import UserError as UserError
    from nasjax.experiment.run import run as run

__version__ = "0.1.0"

_LAZY = {"run": "nasjax.experiment.run", "UserError": "nasjax.core.errors"}


def __getattr__(name: str):  # PEP 562: `import nasjax.hypergrad` loads jax alone
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'nasjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_LAZY]
