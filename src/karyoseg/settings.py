"""Project settings; see https://docs.kedro.org for all of them."""

from karyoseg.hooks import RunLogHooks

HOOKS = (RunLogHooks(),)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment changes single parameters; it does not have to repeat the rest of the group.
    "merge_strategy": {"parameters": "soft"},
    "config_patterns": {"parameters": ["parameters*", "parameters*/**", "**/parameters*"]},
}
