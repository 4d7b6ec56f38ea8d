"""Pure functions of arrays and tables: no Kedro, no TensorFlow."""
