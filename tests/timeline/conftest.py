from tests.evaluation.conftest import tiny  # noqa: F401
