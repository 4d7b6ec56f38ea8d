"""Project settings; see https://docs.kedro.org for all of them."""

from karyoseg.hooks import run_hooks
from karyoseg.storage_hooks import StorageHooks, bucket_from

HOOKS = (StorageHooks(), run_hooks)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "custom_resolvers": {"bucket": bucket_from},  # ${bucket:NAME}
    # An environment changes single parameters; it does not have to repeat the rest of the group.
    "merge_strategy": {"parameters": "soft"},
    "config_patterns": {"parameters": ["parameters*", "parameters*/**", "**/parameters*"]},
}
