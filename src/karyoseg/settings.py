"""Project settings; see https://docs.kedro.org for all of them."""

from karyoseg.hooks import RunLogHooks

HOOKS = (RunLogHooks(),)
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"parameters": ["parameters*", "parameters*/**", "**/parameters*"]},
}
