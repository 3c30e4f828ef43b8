"""nasjax: neural architecture search and bilevel optimisation in JAX.

On the command line: `nasjax --help`; for example `nasjax run --config=zarts_mgs`.

In Python:

    nasjax.run(config, workdir)     searches, retrains and tests; the same call resumes
    nasjax.UserError                bad input; its message is a sentence for the user
    nasjax.hypergrad                hypergradients of any bilevel problem, on jax alone
    nasjax.zeroth                   zero-order optimisers of any function
    nasjax.saliency                 saliency maps of any classifier

    nasjax.experiment.defaults.settings()   a config with all its fields
    nasjax.spaces.load.load(name)           a genotype by name, file, run or text
    nasjax.nets                             networks of a genotype or a space, and counts
    nasjax.core.imports.load(file)          a module of your own, recorded by runs

Tables to which your own module may add a row (docs/command-line.md):

    nasjax.search.PARTS                     algorithms
    nasjax.nets.operations.OPERATIONS       operations
    nasjax.spaces.SPACES                    spaces
    nasjax.tasks.DOMAINS                    kinds of data
    nasjax.data.sources.SOURCES             data sets

>>> from nasjax import hypergrad, run
"""

import importlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasjax import hypergrad as hypergrad
    from nasjax import saliency as saliency
    from nasjax import zeroth as zeroth
    from nasjax.core.errors import UserError as UserError
    from nasjax.experiment.run import run as run

if getattr(sys, "argv", [])[:1] == ["-m"]:  # Python looks for the module of `python -m`
    from nasjax.core.foreign import as_module

    as_module()  # before the dependencies are imported

__version__ = "0.1.0"
__all__ = ["UserError", "hypergrad", "run", "saliency", "zeroth"]

_LAZY = {"run": "nasjax.experiment.run", "UserError": "nasjax.core.errors"}


def __getattr__(name: str):  # PEP 562: `import nasjax.hypergrad` loads jax alone
    if name in _LAZY:
        from nasjax.core.errors import needing

        with needing(f"nasjax.{name}"):
            return getattr(importlib.import_module(_LAZY[name]), name)
    if name in __all__:
        return importlib.import_module(f"nasjax.{name}")
    raise AttributeError(f"module 'nasjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
