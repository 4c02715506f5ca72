"""ecgtune: fine-tune pretrained ECG encoders with a few percent of their weights, and prove that it worked.

`__init__.pyi` lists the public names. Each is imported on first use, so `import ecgtune` does not load torch.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
