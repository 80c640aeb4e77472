"""Software-defined assets, one file per layer: thin bodies that call `data` and `ml`."""

import warnings

import dagster as dg

warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
